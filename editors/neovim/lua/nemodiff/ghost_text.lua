--- Ghost text: Neovim's own where there is one, else the plugin's; and what a key does with it.

local client_of = require('nemodiff.client')
local pieces = require('nemodiff.pieces')
local requests = require('nemodiff.requests')

local M = {}

--- 'auto': Neovim's own where it has one (0.12); 'own': the plugin's in any case.
---@type 'auto'|'own'
local choice = 'auto'

--- The buffers of each server. While there is one, another choice would find nothing of what was
--- drawn.
---@type table<integer, table<integer, true?>?>
local started = {}

--- Choose who draws, for servers that are started from now on.
---@param wanted 'auto'|'own'
function M.choose(wanted)
  if next(started) == nil then
    choice = wanted
  end
end

---@return boolean
function M.is_builtin()
  return choice == 'auto' and vim.lsp.inline_completion ~= nil
end

local function backend()
  return require(M.is_builtin() and 'nemodiff.builtin' or 'nemodiff.own')
end

---@param client_id integer
---@return string
local function group_of(client_id)
  return 'nemodiff.attach.' .. client_id
end

--- Called once for each server.
---@param client vim.lsp.Client
function M.start(client)
  local buffers = {}
  started[client.id] = buffers
  backend().start(client)
  vim.api.nvim_create_autocmd({ 'LspAttach', 'LspDetach' }, {
    group = vim.api.nvim_create_augroup(group_of(client.id), {}),
    callback = function(event)
      if event.data.client_id ~= client.id then
        return
      elseif event.event == 'LspDetach' then
        backend().detach(event.buf)
        buffers[event.buf] = nil
        return
      end
      backend().attach(event.buf)
      buffers[event.buf] = true
      -- Whoever began to type before the server was there gets what is asked for now.
      vim.schedule(M.refresh)
    end,
  })
end

--- The server has ended: nothing of it stays behind.
---@param client_id integer
function M.stop(client_id)
  for bufnr in pairs(started[client_id] or {}) do
    backend().detach(bufnr)
  end
  started[client_id] = nil
  pcall(vim.api.nvim_del_augroup_by_name, group_of(client_id))
  require('nemodiff.status').forget(client_id)
end

--- Ask as a key would, where somebody is typing and nothing is shown or asked for.
function M.refresh()
  local bufnr = vim.api.nvim_get_current_buf()
  local is_waiting = requests.is_inserting() and not requests.is_pending(bufnr)
  if is_waiting and client_of.of(bufnr) and not requests.offer(bufnr) then
    backend().ask(bufnr, requests.AUTOMATIC)
  end
end

--- Insert `text` at the cursor, which goes behind it. Pasted, so that `.` repeats it.
---@param text string
local function insert(text)
  vim.api.nvim_paste(text, false, -1)
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
    if bufnr ~= vim.api.nvim_get_current_buf() then
      return
    end
    local piece = piece_of and piece_of(text) or text
    local offer = requests.offer(bufnr)
    insert(piece)
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
