-- minuet-ai.nvim: in Neovim the plugin in editors/neovim does more; this is for those who have
-- minuet already. The engine must listen: `nemodiff engine serve --port 8712`.
require('minuet').setup({
  provider = 'openai_fim_compatible',
  n_completions = 1,
  context_window = 16000,
  provider_options = {
    openai_fim_compatible = {
      name = 'NemoDiff',
      -- The name of a variable that is always set; the engine asks for no key.
      api_key = 'TERM',
      end_point = 'http://127.0.0.1:8712/v1/completions',
      model = 'qwen2.5-coder-0.5b',
      stream = true,
      optional = { max_tokens = 64 },
    },
  },
})
