-- Neovim's set-up in the tests of the plugin: the documented one. Loaded by neovim.py.

local settings = vim.json.decode(vim.env.NEMODIFF_TEST_SETTINGS)
local here = vim.fn.fnamemodify(debug.getinfo(1, 'S').source:sub(2), ':p:h')

dofile(here .. '/neovim_record.lua')
if settings.options.before then
  assert(loadstring(settings.options.before))()
end
vim.opt.runtimepath:append(settings.options.plugin)
vim.cmd.filetype('on')
if settings.options.is_bare then
  -- The file alone; the command is found on PATH.
  vim.lsp.enable('nemodiff')
else
  require('nemodiff').setup({
    cmd = not settings.options.no_command and settings.command or nil,
    settings = settings.options.settings,
    ghost_text = settings.options.ghost_text,
  })
end
