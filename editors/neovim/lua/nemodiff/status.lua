--- What the server tells of its state, as a short text for the statusline.
---
--- Each change fires the autocommand `User NemoDiffStatus`.

local client_of = require('nemodiff.client')

local M = {}

---@class nemodiff.Status
---@field kind 'loading'|'ready'|'busy'|'paused'|'excluded'|'error'
---@field message string one sentence
---@field perCent? integer of the loading
---@field nothingBecause? string why the last request came to nothing

local MARKS = { ready = '', busy = ' …', paused = ' off', excluded = ' –', error = ' !' }

local UNANSWERED = { loading = true, error = true, paused = true }

---@type table<integer, nemodiff.Status?>
local states = {}

---@param client_id integer
---@param params nemodiff.Status
function M.change(client_id, params)
  local before = states[client_id]
  -- In a JSON message an absent value is vim.NIL.
  states[client_id] = {
    kind = params.kind,
    message = params.message,
    perCent = params.perCent ~= vim.NIL and params.perCent or nil,
    nothingBecause = params.nothingBecause ~= vim.NIL and params.nothingBecause or nil,
  }
  vim.api.nvim_exec_autocmds('User', { pattern = 'NemoDiffStatus', modeline = false })
  vim.cmd.redrawstatus({ bang = true })
  local was_away = before and UNANSWERED[before.kind]
  if was_away and params.kind == 'ready' then
    -- What was asked meanwhile has got no answer.
    require('nemodiff.ghost_text').refresh()
  end
end

--- The server has ended.
---@param client_id integer
function M.forget(client_id)
  states[client_id] = nil
end

--- The state of a buffer's server; nil where none is running.
---@param bufnr? integer the current one by default
---@return nemodiff.Status?
function M.get(bufnr)
  local client = client_of.of(bufnr or 0)
  return client and (states[client.id] or { kind = 'loading', message = 'NemoDiff is starting.' })
end

--- For the statusline: empty where no server is running.
---@param bufnr? integer
---@return string
function M.text(bufnr)
  local state = M.get(bufnr)
  if not state then
    return ''
  end
  if state.kind == 'loading' then
    return state.perCent and ('NemoDiff %d%%'):format(state.perCent) or 'NemoDiff …'
  end
  return 'NemoDiff' .. (MARKS[state.kind] or '')
end

return M
