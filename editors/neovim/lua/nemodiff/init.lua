--- NemoDiff for Neovim: finds and starts the language server, shows ghost text and status.
---
--- The public functions; see :help nemodiff.

local M = {}

---@class nemodiff.Options
---@field cmd? string[] the command of the server; found by itself if not given
---@field filetypes? string[] all by default; the server leaves out what it should
---@field settings? nemodiff.Settings
---@field ghost_text? 'auto'|'own' 'auto': Neovim's own where it has one
---@field keys? nemodiff.Keys|false false: no key is mapped

---@param options nemodiff.Options
---@return vim.lsp.Config
local function overrides(options)
  return {
    cmd = options.cmd,
    filetypes = options.filetypes,
    init_options = options.settings and { nemodiff = options.settings } or nil,
  }
end

---@type nemodiff.Options
local given = {}

--- The configuration of the server, the user's own included.
---@return nemodiff.Config
function M.config()
  if vim.lsp.config then
    return vim.lsp.config.nemodiff --[[@as nemodiff.Config]]
  end
  local base = dofile(vim.api.nvim_get_runtime_file('lsp/nemodiff.lua', false)[1])
  local config = vim.tbl_extend('force', base, overrides(given))
  local own = vim.lsp.protocol.make_client_capabilities()
  config.name = 'nemodiff'
  config.capabilities = vim.tbl_deep_extend('force', own, base.capabilities)
  return config
end

---@param bufnr integer
---@param config nemodiff.Config
local function start_in(bufnr, config)
  local filetype = vim.bo[bufnr].filetype
  if vim.bo[bufnr].buftype ~= '' or filetype == '' then
    return
  end
  if config.filetypes and not vim.tbl_contains(config.filetypes, filetype) then
    return
  end
  if type(config.cmd) == 'function' and not config.find_server() then
    local problem = 'NemoDiff: the command "nemodiff" was not found (:help nemodiff-server).'
    vim.notify_once(problem, vim.log.levels.WARN)
    return
  end
  config.root_dir = vim.fs.root(bufnr, config.root_markers)
  vim.lsp.start(config, { bufnr = bufnr })
end

--- What `vim.lsp.enable` does, for Neovim 0.10.
local function start_by_hand()
  local config = M.config()
  vim.api.nvim_create_autocmd('FileType', {
    group = vim.api.nvim_create_augroup('nemodiff.start', {}),
    callback = function(event)
      start_in(event.buf, config)
    end,
  })
  if vim.v.vim_did_enter == 1 then
    for _, bufnr in ipairs(vim.api.nvim_list_bufs()) do
      if vim.api.nvim_buf_is_loaded(bufnr) then
        start_in(bufnr, config)
      end
    end
  end
end

--- Start NemoDiff and map its keys; a second call changes keys, and settings of servers to come.
--- Without it `vim.lsp.enable('nemodiff')` is enough, and no key is mapped.
---@param options? nemodiff.Options
function M.setup(options)
  if vim.fn.has('nvim-0.10') == 0 then
    vim.notify('NemoDiff needs Neovim 0.10 or newer.', vim.log.levels.WARN)
    return
  end
  options = options or {}
  given = options
  require('nemodiff.ghost_text').choose(options.ghost_text or 'auto')
  vim.cmd.runtime({ args = { 'plugin/nemodiff.lua' } })
  if options.keys == false then
    require('nemodiff.keys').unmap()
  else
    require('nemodiff.keys').map(options.keys --[[@as nemodiff.Keys?]])
  end
  if vim.lsp.enable then
    vim.lsp.config('nemodiff', overrides(options))
    vim.lsp.enable('nemodiff')
  else
    start_by_hand()
  end
end

--- For the statusline: 'NemoDiff', 'NemoDiff 42%' while the model is loaded, 'NemoDiff off' and so
--- on; empty where no server is running.
---@return string
function M.status()
  return require('nemodiff.status').text()
end

-- Each returns false when there was nothing to take, so that a mapping can fall back.
for _, name in ipairs({ 'accept', 'accept_word', 'accept_line', 'is_visible', 'dismiss' }) do
  M[name] = function()
    return require('nemodiff.ghost_text')[name]()
  end
end

function M.trigger()
  require('nemodiff.ghost_text').trigger()
end

function M.next()
  require('nemodiff.ghost_text').next(1)
end

function M.previous()
  require('nemodiff.ghost_text').next(-1)
end

---@param scope? 'global'|'language'|'document'
function M.toggle(scope)
  require('nemodiff.commands').toggle(scope)
end

return M
