--- The language server as a client of this editor: which one, and what is asked of it.

local M = {}

M.NAME = 'nemodiff'

--- The server of a buffer (0: the current one), or any when the buffer has none.
---@param bufnr? integer
---@return vim.lsp.Client?
function M.of(bufnr)
  if bufnr == 0 then
    bufnr = vim.api.nvim_get_current_buf()
  end
  return vim.lsp.get_clients({ name = M.NAME, bufnr = bufnr })[1]
end

--- Neovim 0.10 calls a client's functions without the client.
---@param client vim.lsp.Client
---@param name string
function M.call(client, name, ...)
  if vim.fn.has('nvim-0.11') == 1 then
    return client[name](client, ...)
  end
  return client[name](...)
end

--- Run one of the server's commands; `on_result` gets its result unless it failed.
---@param bufnr integer
---@param command string
---@param argument? table
---@param on_result? fun(result: any)
function M.execute(bufnr, command, argument, on_result)
  local client = M.of(bufnr) or M.of()
  if not client then
    vim.notify('NemoDiff: no language server is running here.', vim.log.levels.WARN)
    return
  end
  local params = { command = command, arguments = argument and { argument } or nil }
  M.call(client, 'request', 'workspace/executeCommand', params, function(err, result)
    if err then
      vim.notify('NemoDiff: ' .. err.message, vim.log.levels.WARN)
    elseif on_result then
      on_result(result)
    end
  end, bufnr)
end

--- Tell the server that an item was taken, by the command that the item carries.
---@param client_id integer
---@param command? lsp.Command
---@param bufnr integer
function M.tell_accepted(client_id, command, bufnr)
  local client = vim.lsp.get_client_by_id(client_id)
  if client and command then
    local params = { command = command.command, arguments = command.arguments }
    M.call(client, 'request', 'workspace/executeCommand', params, function() end, bufnr)
  end
end

return M
