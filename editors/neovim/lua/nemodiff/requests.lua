--- Requests for inline completion and the newest offer of each buffer.
---
--- Used by both kinds of ghost text. A newer request cancels the older one, and an answer that came
--- too late, or does not fit what has been typed meanwhile, is dropped before it is shown.

local M = {}

M.METHOD = 'textDocument/inlineCompletion'
M.INVOKED, M.AUTOMATIC = 1, 2

---@class nemodiff.Item
---@field text string
---@field command? lsp.Command

--- What was offered. row, col: where it was asked for, from 0 and in bytes; before: that line up to
--- there.
---@class nemodiff.Offer
---@field client_id integer
---@field row integer
---@field col integer
---@field before string
---@field items nemodiff.Item[]

---@class nemodiff.Pending
---@field cancel fun()

---@type table<integer, nemodiff.Offer?>
local offers = {}
---@type table<integer, nemodiff.Pending?>
local pending = {}

---@param bufnr integer
---@return nemodiff.Offer?
function M.offer(bufnr)
  return offers[bufnr]
end

--- Forget what was offered and cancel what is asked for.
---@param bufnr integer
function M.forget(bufnr)
  offers[bufnr] = nil
  M.cancel(bufnr)
end

---@param bufnr integer
---@return boolean
function M.is_pending(bufnr)
  return pending[bufnr] ~= nil
end

---@param bufnr integer
function M.cancel(bufnr)
  local older = pending[bufnr]
  pending[bufnr] = nil
  if older then
    older.cancel()
  end
end

---@return boolean
function M.is_inserting()
  return vim.startswith(vim.api.nvim_get_mode().mode, 'i')
end

--- The window in which a buffer is edited: the current one, or another that shows it.
---@param bufnr integer
---@return integer? window nil where none shows it
local function window_of(bufnr)
  local window = vim.api.nvim_get_current_win()
  if vim.api.nvim_win_get_buf(window) ~= bufnr then
    window = vim.fn.bufwinid(bufnr)
  end
  return window >= 0 and window or nil
end

--- The cursor in a buffer that is shown, from 0 and in bytes.
---@param bufnr integer
---@return integer row, integer col, string line
local function cursor_in(bufnr)
  local row, col = unpack(vim.api.nvim_win_get_cursor(assert(window_of(bufnr))))
  return row - 1, col, vim.api.nvim_buf_get_lines(bufnr, row - 1, row, false)[1] or ''
end
M.cursor_in = cursor_in

--- What of an offered `text` is still to be inserted at the cursor; nil where it does not fit.
---@param bufnr integer
---@param offer nemodiff.Offer
---@param text string
---@return string?
function M.rest_of(bufnr, offer, text)
  if not window_of(bufnr) then
    return nil
  end
  local row, col, line = cursor_in(bufnr)
  if row ~= offer.row or col < offer.col or line:sub(1, offer.col) ~= offer.before then
    return nil
  end
  local typed = line:sub(offer.col + 1, col)
  local rest = text:sub(#typed + 1)
  return vim.startswith(text, typed) and rest ~= '' and rest or nil
end

--- Whether some of what was offered still fits at the cursor.
---@param bufnr integer
---@return boolean
function M.fits(bufnr)
  local offer = offers[bufnr]
  for _, item in ipairs(offer and offer.items or {}) do
    if M.rest_of(bufnr, offer --[[@as nemodiff.Offer]], item.text) then
      return true
    end
  end
  return false
end

--- The items of an answer, in which every line ends as lines of a buffer do.
---@param result lsp.InlineCompletionList|lsp.InlineCompletionItem[]
---@return nemodiff.Item[]
local function items_of(result)
  local items = {}
  for _, item in ipairs(result.items or result) do
    if type(item.insertText) == 'string' then
      item.insertText = item.insertText:gsub('\r\n', '\n')
    end
    local text = item.insertText
    text = type(text) == 'table' and text.value or text
    items[#items + 1] = { text = text, command = item.command }
  end
  return items
end

--- Send a request. `send` puts it on the wire with the handler it is given and returns what cancels
--- it; `handler` gets the answer, unless it comes too late.
--- Nothing is sent where nothing could be taken: in a buffer that is not shown, with 'paste'.
---@param client vim.lsp.Client
---@param bufnr integer
---@param send fun(handler: lsp.Handler): fun()
---@param handler lsp.Handler
function M.ask(client, bufnr, send, handler)
  M.cancel(bufnr)
  if vim.o.paste or not window_of(bufnr) then
    return
  end
  local row, col, line = cursor_in(bufnr)
  local asked = { cancel = function() end }
  pending[bufnr] = asked
  asked.cancel = send(function(err, result, ...)
    if pending[bufnr] ~= asked then
      return
    end
    pending[bufnr] = nil
    if err or not result then
      return handler(err, result, ...)
    end
    ---@type nemodiff.Offer
    local offer = {
      client_id = client.id,
      row = row,
      col = col,
      before = line:sub(1, col),
      items = items_of(result),
    }
    local first = offer.items[1]
    if first and not M.rest_of(bufnr, offer, first.text) then
      return
    end
    offers[bufnr] = first and offer or nil
    return handler(err, result, ...)
  end)
end

--- The parameters of a request at the cursor.
---@param client vim.lsp.Client
---@param bufnr integer
---@param kind integer INVOKED or AUTOMATIC
function M.params(client, bufnr, kind)
  local window = window_of(bufnr) or 0
  local params = vim.lsp.util.make_position_params(window, client.offset_encoding)
  return {
    textDocument = params.textDocument,
    position = params.position,
    context = { triggerKind = kind },
  }
end

return M
