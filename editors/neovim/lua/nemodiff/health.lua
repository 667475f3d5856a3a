--- :checkhealth nemodiff

local M = {}

---@param command string[]
local function check_version(command)
  local is_run, run = pcall(function()
    return vim.system({ command[1], '--version' }, { text = true }):wait(10000)
  end)
  if is_run and run.code == 0 then
    vim.health.ok('It runs: ' .. vim.trim(run.stdout))
  else
    vim.health.error('It does not run.', { vim.trim(is_run and run.stderr or '') })
  end
end

local function check_editor()
  vim.health.start('Neovim')
  if vim.fn.has('nvim-0.10') == 0 then
    vim.health.error('Neovim 0.10 or newer is needed.')
  elseif require('nemodiff.ghost_text').is_builtin() then
    vim.health.ok('Ghost text is drawn by vim.lsp.inline_completion.')
  else
    vim.health.ok('Ghost text is drawn by the plugin.')
  end
  for action, key in pairs(require('nemodiff.keys').taken) do
    vim.health.info(('%s is not mapped for "%s": it was taken.'):format(key, action))
  end
  for _, other in ipairs({ 'copilot', 'supermaven-nvim', 'minuet' }) do
    if package.loaded[other] then
      vim.health.warn(other .. ' is loaded, too: both will draw ghost text.')
    end
  end
end

local function check_server()
  vim.health.start('Language server')
  local config = require('nemodiff').config()
  if type(config.cmd) == 'table' then
    local is_there = vim.fn.executable(config.cmd[1]) == 1
    local say = is_there and vim.health.ok or vim.health.error
    local problem = is_there and '' or ', but there is no such program'
    say(('Its command is configured%s: %s'):format(problem, table.concat(config.cmd, ' ')))
    return
  end
  local command, place = config.find_server()
  if command then
    vim.health.ok(('Found in %s: %s'):format(place, command[1]))
    check_version(command)
  else
    vim.health.error('The command "nemodiff" was not found.', {
      'Run `make setup` in the clone of NemoDiff.',
      'Or start Neovim in the Python environment that has it.',
      'Or set `cmd`, see :help nemodiff-server.',
    })
  end
end

local function check_clients()
  vim.health.start('State')
  local clients = vim.lsp.get_clients({ name = 'nemodiff' })
  if #clients == 0 then
    vim.health.info('No server is running: open a file.')
  end
  for _, client in ipairs(clients) do
    local bufnr = next(client.attached_buffers)
    local state = bufnr and require('nemodiff.status').get(bufnr)
    local say = state and state.kind == 'error' and vim.health.error or vim.health.ok
    say(('In %s: %s'):format(client.root_dir or 'single files', state and state.message or 'idle'))
    if state and state.nothingBecause then
      vim.health.info('Nothing was shown for the last request: ' .. state.nothingBecause)
    end
  end
end

function M.check()
  check_editor()
  if vim.fn.has('nvim-0.10') == 0 then
    return
  end
  check_server()
  check_clients()
end

return M
