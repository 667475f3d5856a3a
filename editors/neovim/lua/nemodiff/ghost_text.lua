--- Ghost text: Neovim's own where there is one, else the plugin's; and what a key does with it.

local client_of = require('nemodiff.client')
local pieces = require('nemodiff.pieces')
local requests = require('nemodiff.requests')

local M = {}

--- 'auto': Neovim's own where it has one (0.12); 'own': the plugin's in any case.
---@type 'auto'|'own'
M.choice = 'auto'

---@return boolean
function M.is_builtin()
  return M.choice == 'auto' and vim.lsp.inline_completion ~= nil
end

local function backend()
  return require(M.is_builtin() and 'nemodiff.builtin' or 'nemodiff.own')
end

--- Called once for each server.
---@param client vim.lsp.Client
function M.start(client)
  backend().start(client)
  vim.api.nvim_create_autocmd('LspAttach', {
    group = vim.api.nvim_create_augroup('nemodiff.attach.' .. client.id, {}),
    callback = function(event)
      if event.data.client_id == client.id then
        backend().attach(event.buf)
      end
    end,
  })
end

--- Insert `text` at the cursor, which goes behind it.
---@param bufnr integer
---@param text string
local function insert(bufnr, text)
  local row, col = requests.cursor_in(bufnr)
  local lines = vim.split(text, '\n', { plain = true })
  vim.api.nvim_buf_set_text(bufnr, row, col, row, col, lines)
  local end_col = #lines[#lines] + (#lines == 1 and col or 0)
  vim.api.nvim_win_set_cursor(vim.fn.bufwinid(bufnr), { row + #lines, end_col })
end

---@param piece_of? fun(text: string): string
---@return boolean is_taken
local function accept(piece_of)
  local bufnr = vim.api.nvim_get_current_buf()
  if not M.is_visible() then
    return false
  end
  local ghost = backend()
  ghost.take(bufnr, function(text, command)
    local piece = piece_of and piece_of(text) or text
    local offer = requests.offer(bufnr)
    insert(bufnr, piece)
    if piece == text then
      requests.forget(bufnr)
      if offer then
        client_of.tell_accepted(offer.client_id, command, bufnr)
      end
    elseif M.is_builtin() or piece:find('\n', 1, true) then
      ghost.ask(bufnr, requests.AUTOMATIC)
    end
  end)
  return true
end

--- Whether ghost text is on the screen at the cursor.
---@return boolean
function M.is_visible()
  return backend().is_visible(vim.api.nvim_get_current_buf())
end

--- Insert all of it. Like the other two, returns false when there is nothing to take.
---@return boolean
function M.accept()
  return accept()
end

---@return boolean
function M.accept_word()
  return accept(pieces.next_word)
end

---@return boolean
function M.accept_line()
  return accept(pieces.next_line)
end

--- Show another alternative; asks for them first where only one is known.
---@param count integer 1 for the next, -1 for the one before
function M.next(count)
  local bufnr = vim.api.nvim_get_current_buf()
  local offer, ghost = requests.offer(bufnr), backend()
  if offer and #offer.items > 1 then
    ghost.select(bufnr, count)
    return
  end
  ghost.ask(bufnr, requests.INVOKED, function()
    local answered = requests.offer(bufnr)
    if answered and #answered.items > 1 then
      ghost.select(bufnr, count)
    end
  end)
end

--- Ask for a completion now; the server takes more time for it than for one that comes by itself.
function M.trigger()
  backend().ask(vim.api.nvim_get_current_buf(), requests.INVOKED)
end

--- Take the ghost text away.
---@return boolean was_visible
function M.dismiss()
  local was_visible = M.is_visible()
  backend().hide(vim.api.nvim_get_current_buf())
  return was_visible
end

return M
