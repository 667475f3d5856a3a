--- What `:NemoDiff` and the `<Plug>` mappings do, beyond ghost text.

local client_of = require('nemodiff.client')

local M = {}

local WARN = vim.log.levels.WARN

---@param bufnr integer
---@return string
local function uri_of(bufnr)
  return vim.uri_from_bufnr(bufnr)
end

--- A place in a buffer, given from 0 and in bytes, as the protocol has it.
---@param bufnr integer
---@param row integer
---@param col integer behind the line's end: its end
---@return lsp.Position
local function position(bufnr, row, col)
  local text = vim.api.nvim_buf_get_lines(bufnr, row, row + 1, false)[1] or ''
  local client = client_of.of(bufnr)
  local encoding = client and client.offset_encoding or 'utf-16'
  local before = text:sub(1, col)
  local units = #before
  if encoding == 'utf-16' then
    units = vim.fn.strutf16len(before)
  elseif encoding == 'utf-32' then
    units = vim.fn.strchars(before)
  end
  return { line = row, character = units }
end

--- Whole lines as a range of the protocol; both from 1.
---@param bufnr integer
---@param first integer
---@param last integer
---@return lsp.Range
local function lines(bufnr, first, last)
  return {
    start = { line = first - 1, character = 0 },
    ['end'] = position(bufnr, last - 1, vim.v.maxcol),
  }
end

--- Run a command that changes the buffer.
---@param bufnr integer
---@param command string
---@param argument table
local function change(bufnr, command, argument)
  if vim.bo[bufnr].modifiable then
    client_of.execute(bufnr, command, argument)
  else
    vim.notify("NemoDiff: this buffer cannot be changed ('modifiable' is off).", WARN)
  end
end

--- Fill the holes (`...`, `TODO` and the like) of lines `first` to `last`, or of the whole buffer.
---@param first? integer
---@param last? integer
function M.fill(first, last)
  local bufnr = vim.api.nvim_get_current_buf()
  local argument = { uri = uri_of(bufnr) }
  if first and last then
    argument.range = lines(bufnr, first, last)
  end
  change(bufnr, 'nemodiff.fillHoles', argument)
end

--- Repair lines `first` to `last`, or the line of the cursor; diagnostics there are the doubts.
---@param first? integer
---@param last? integer
function M.repair(first, last)
  local bufnr = vim.api.nvim_get_current_buf()
  local row = vim.api.nvim_win_get_cursor(0)[1]
  first, last = first or row, last or first or row
  local doubts = {}
  for _, found in ipairs(vim.diagnostic.get(bufnr)) do
    if found.lnum + 1 >= first and found.lnum + 1 <= last then
      doubts[#doubts + 1] = {
        start = position(bufnr, found.lnum, found.col),
        ['end'] = position(bufnr, found.end_lnum or found.lnum, found.end_col or found.col),
      }
    end
  end
  change(bufnr, 'nemodiff.repairRange', {
    uri = uri_of(bufnr),
    range = lines(bufnr, first, last),
    diagnostics = #doubts > 0 and doubts or nil,
  })
end

--- Why nothing was shown for the last request in this buffer; the server shows the sentence.
function M.why()
  local bufnr = vim.api.nvim_get_current_buf()
  client_of.execute(bufnr, 'nemodiff.why', { uri = uri_of(bufnr) })
end

--- Switch completions on or off.
---@param scope? 'global'|'language'|'document'
function M.toggle(scope)
  local bufnr = vim.api.nvim_get_current_buf()
  local argument = { scope = scope or 'global', uri = uri_of(bufnr) }
  client_of.execute(bufnr, 'nemodiff.toggle', argument, function(result)
    if type(result) == 'table' and result.enabled == false then
      require('nemodiff.ghost_text').dismiss()
    end
  end)
end

---@param mode string
function M.mode(mode)
  client_of.execute(vim.api.nvim_get_current_buf(), 'nemodiff.setMode', { mode = mode })
end

function M.status()
  client_of.execute(vim.api.nvim_get_current_buf(), 'nemodiff.showStatus')
end

--- Restart the engine, which holds the model; the language server stays.
function M.restart()
  client_of.execute(vim.api.nvim_get_current_buf(), 'nemodiff.restartEngine')
end

--- A text for a bug report, without source text, in a buffer of its own.
function M.report()
  client_of.execute(vim.api.nvim_get_current_buf(), 'nemodiff.report', nil, function(result)
    if type(result) == 'string' then
      vim.cmd.new()
      vim.bo.buftype, vim.bo.bufhidden = 'nofile', 'wipe'
      vim.api.nvim_buf_set_lines(0, 0, -1, false, vim.split(result, '\n'))
    end
  end)
end

local SCOPES = { 'global', 'language', 'document' }
local MODES = { 'auto', 'ar', 'diffusion', 'linear_spec', 'quad_spec' }

local NAMES = {
  'fill',
  'mode',
  'repair',
  'report',
  'restart',
  'status',
  'toggle',
  'trigger',
  'why',
}

--- `:NemoDiff {name} [argument]`.
---@param call vim.api.keyset.create_user_command.command_args
function M.run(call)
  local name, argument = call.fargs[1] or 'status', call.fargs[2]
  local first = call.range > 0 and call.line1 or nil
  local last = call.range > 0 and call.line2 or nil
  if name == 'fill' or name == 'repair' then
    M[name](first, last)
  elseif name == 'trigger' then
    require('nemodiff.ghost_text').trigger()
  elseif name == 'mode' and not argument then
    vim.notify('NemoDiff: which mode? ' .. table.concat(MODES, ', '), WARN)
  elseif vim.tbl_contains(NAMES, name) then
    M[name](argument)
  else
    local known = table.concat(NAMES, ', ')
    local problem = ('NemoDiff: there is no %q (there are: %s).'):format(name, known)
    vim.notify(problem, WARN)
  end
end

---@param lead string
---@param line string
---@return string[]
function M.complete(lead, line)
  local words = vim.split(line, '%s+')
  local choices = { toggle = SCOPES, mode = MODES }
  local known = #words <= 2 and NAMES or choices[words[2]] or {}
  return vim.tbl_filter(function(word)
    return vim.startswith(word, lead)
  end, known)
end

return M
