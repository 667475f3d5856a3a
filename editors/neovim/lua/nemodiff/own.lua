--- Ghost text drawn by the plugin itself, for Neovim 0.10 and 0.11.

local client_of = require('nemodiff.client')
local requests = require('nemodiff.requests')

local M = {}

local namespace = vim.api.nvim_create_namespace('nemodiff')

--- As long as Neovim's own waits; the server counts on it.
local DEBOUNCE_MS = 200

---@class nemodiff.Drawn
---@field index integer of the item that is shown
---@field timer? uv.uv_timer_t
---@field last? string what is on the screen

---@type table<integer, nemodiff.Drawn>
local drawn = {}

---@param bufnr integer
local function stop_timer(bufnr)
  local timer = drawn[bufnr].timer
  drawn[bufnr].timer = nil
  if timer and not timer:is_closing() then
    timer:stop()
    timer:close()
  end
end

--- Whether `wanted` is on the screen at this place already.
---@param bufnr integer
---@param wanted string?
---@param row integer
---@param col integer
local function is_drawn(bufnr, wanted, row, col)
  if not wanted or wanted ~= drawn[bufnr].last then
    return false
  end
  local marks = vim.api.nvim_buf_get_extmarks(bufnr, namespace, 0, -1, {})
  return #marks == 1 and marks[1][2] == row and marks[1][3] == col
end

--- Draw what is left of the chosen item at the cursor, or nothing.
---@param bufnr integer
---@param hint? string
local function draw(bufnr, hint)
  local offer, shown = requests.offer(bufnr), drawn[bufnr]
  local item = offer and offer.items[shown.index]
  local rest = offer and item and requests.rest_of(bufnr, offer, item.text)
  local row, col = 0, 0
  if rest then
    row, col = requests.cursor_in(bufnr)
  end
  local wanted = rest and rest .. (hint or '')
  if is_drawn(bufnr, wanted, row, col) then
    return
  end
  shown.last = wanted
  vim.api.nvim_buf_clear_namespace(bufnr, namespace, 0, -1)
  if not rest then
    return
  end
  local lines = {} ---@type [string, string][][]
  for line in vim.gsplit(rest, '\n', { plain = true }) do
    lines[#lines + 1] = { { line, 'NemoDiffGhost' } }
  end
  if hint then
    table.insert(lines[#lines], { hint, 'NemoDiffHint' })
  end
  vim.api.nvim_buf_set_extmark(bufnr, namespace, row, col, {
    virt_text = lines[1],
    virt_lines = #lines > 1 and vim.list_slice(lines, 2) or nil,
    virt_text_pos = 'inline',
    hl_mode = 'combine',
  })
end

--- Ask now.
---@param bufnr integer
---@param kind integer
---@param on_answer? fun()
function M.ask(bufnr, kind, on_answer)
  local client = client_of.of(bufnr)
  if not client or not drawn[bufnr] then
    return
  end
  stop_timer(bufnr)
  local params = requests.params(client, bufnr, kind)
  requests.ask(client, bufnr, function(handler)
    local _, request_id =
      client_of.call(client, 'request', requests.METHOD, params, handler, bufnr)
    return function()
      if request_id then
        client_of.call(client, 'cancel_request', request_id)
      end
    end
  end, function(err, result)
    -- No answer (null) leaves what is shown, an empty one takes it away.
    if err or not result or not requests.is_inserting() then
      return
    end
    drawn[bufnr].index = 1
    draw(bufnr)
    if on_answer then
      on_answer()
    end
  end)
end

---@param bufnr integer
local function on_move(bufnr)
  draw(bufnr)
  stop_timer(bufnr)
  drawn[bufnr].timer = vim.defer_fn(function()
    if vim.api.nvim_get_current_buf() == bufnr and requests.is_inserting() then
      M.ask(bufnr, requests.AUTOMATIC)
    end
  end, DEBOUNCE_MS)
end

function M.start()
  vim.api.nvim_set_hl(0, 'NemoDiffGhost', { default = true, link = 'NonText' })
  vim.api.nvim_set_hl(0, 'NemoDiffHint', { default = true, link = 'MoreMsg' })
end

---@param bufnr integer
---@return string
local function group_of(bufnr)
  return 'nemodiff.own.' .. bufnr
end

---@param bufnr integer
function M.attach(bufnr)
  drawn[bufnr] = drawn[bufnr] or { index = 1 }
  local group = vim.api.nvim_create_augroup(group_of(bufnr), {})
  vim.api.nvim_create_autocmd({ 'InsertEnter', 'CursorMovedI', 'TextChangedP' }, {
    group = group,
    buffer = bufnr,
    callback = function()
      on_move(bufnr)
    end,
  })
  vim.api.nvim_create_autocmd('InsertLeave', {
    group = group,
    buffer = bufnr,
    callback = function()
      M.hide(bufnr)
    end,
  })
end

---@param bufnr integer
function M.detach(bufnr)
  pcall(vim.api.nvim_del_augroup_by_name, group_of(bufnr))
  if drawn[bufnr] then
    requests.forget(bufnr)
    stop_timer(bufnr)
    drawn[bufnr] = nil
  end
  if vim.api.nvim_buf_is_valid(bufnr) then
    vim.api.nvim_buf_clear_namespace(bufnr, namespace, 0, -1)
  end
end

---@param bufnr integer
---@return boolean
function M.is_visible(bufnr)
  return #vim.api.nvim_buf_get_extmarks(bufnr, namespace, 0, -1, { limit = 1 }) > 0
end

--- Hand the shown text and its command to `take`, and hide it.
---@param bufnr integer
---@param take fun(text: string, command?: lsp.Command)
function M.take(bufnr, take)
  -- Later, since an <expr> mapping may not change the text.
  vim.schedule(function()
    local offer, shown = requests.offer(bufnr), drawn[bufnr]
    local item = offer and shown and offer.items[shown.index]
    local rest = offer and item and requests.rest_of(bufnr, offer, item.text)
    if rest and item then
      requests.cancel(bufnr)
      take(rest, item.command)
      draw(bufnr)
    end
  end)
end

---@param bufnr integer
---@param count integer
function M.select(bufnr, count)
  local offer, shown = requests.offer(bufnr), drawn[bufnr]
  if offer and shown then
    shown.index = (shown.index - 1 + count) % #offer.items + 1
    draw(bufnr, (' (%d/%d)'):format(shown.index, #offer.items))
  end
end

---@param bufnr integer
function M.hide(bufnr)
  requests.forget(bufnr)
  if drawn[bufnr] then
    stop_timer(bufnr)
    draw(bufnr)
  end
end

return M
