---@brief
--- NemoDiff: code completion on your own machine.
---
--- With this file on the 'runtimepath', `vim.lsp.enable('nemodiff')` is all that is needed: it
--- finds and starts the language server and switches on Neovim's own ghost text (0.12). It works
--- without the rest of the plugin, too. Settings go into `init_options`.

local is_windows = vim.fn.has('win32') == 1
local bin = is_windows and 'Scripts/nemodiff.exe' or 'bin/nemodiff'
local this_file = debug.getinfo(1, 'S').source:sub(2)

--- The command that starts the server, and where it was found.
---@return string[]? command nil when it is nowhere
---@return string place
local function find_server()
  local clone = vim.fn.fnamemodify(this_file, ':p:h:h:h:h')
  local is_clone = vim.fn.isdirectory(clone .. '/nemodiff_lsp') == 1
  local environment = vim.env.VIRTUAL_ENV
  local candidates = {
    { environment and environment .. '/' .. bin or '', 'the active Python environment' },
    { is_clone and clone .. '/.venv/' .. bin or '', 'the environment of the clone' },
    { vim.fn.exepath('nemodiff'), 'PATH' },
  }
  for _, candidate in ipairs(candidates) do
    if candidate[1] ~= '' and vim.fn.executable(candidate[1]) == 1 then
      return { candidate[1], 'lsp' }, candidate[2]
    end
  end
  return nil, ''
end

local MISSING = 'NemoDiff: the command "nemodiff" was not found; run `make setup` in the clone of '
  .. 'NemoDiff, or set `cmd` (see :help nemodiff-server).'

--- The folder of a buffer, given to `on_dir`; nothing is started where there is no server.
---@param bufnr integer
---@param on_dir fun(root_dir?: string)
local function root_dir(bufnr, on_dir)
  local config = vim.lsp.config.nemodiff
  if type(config.cmd) == 'function' and not find_server() then
    vim.notify_once(MISSING, vim.log.levels.WARN)
    return
  end
  on_dir(vim.fs.root(bufnr, config.root_markers))
end

--- Called once for each server, before the first buffer is attached.
---@param client vim.lsp.Client
local function on_init(client)
  local is_there, ghost_text = pcall(require, 'nemodiff.ghost_text')
  if is_there then
    ghost_text.start(client)
  elseif vim.lsp.inline_completion then
    vim.api.nvim_create_autocmd('LspAttach', {
      group = vim.api.nvim_create_augroup('nemodiff.attach.' .. client.id, {}),
      callback = function(event)
        if event.data.client_id == client.id then
          vim.lsp.inline_completion.enable(true, { bufnr = event.buf })
        end
      end,
    })
  end
end

---@param params nemodiff.Status
---@param context lsp.HandlerContext
local function on_status(_, params, context)
  local is_there, status = pcall(require, 'nemodiff.status')
  if is_there then
    status.change(context.client_id, params)
  end
end

---@param client_id integer
local function on_exit(_, _, client_id)
  -- Told in the middle of Neovim's own event loop, where little may be done.
  vim.schedule(function()
    local is_there, ghost_text = pcall(require, 'nemodiff.ghost_text')
    if is_there then
      ghost_text.stop(client_id)
    else
      pcall(vim.api.nvim_del_augroup_by_name, 'nemodiff.attach.' .. client_id)
    end
  end)
end

---@class nemodiff.Config: vim.lsp.Config
---@field find_server fun(): string[]?, string
return {
  cmd = function(dispatchers)
    return vim.lsp.rpc.start(assert(find_server(), MISSING), dispatchers)
  end,
  find_server = find_server,
  root_dir = root_dir,
  root_markers = { '.nemodiff.toml', '.git' },
  capabilities = {
    -- Neovim 0.10 and 0.11 do not announce it by themselves.
    textDocument = { inlineCompletion = { dynamicRegistration = false } },
    experimental = { nemodiff = { status = true } },
  },
  handlers = { ['nemodiff/didChangeStatus'] = on_status },
  on_init = on_init,
  on_exit = on_exit,
}
