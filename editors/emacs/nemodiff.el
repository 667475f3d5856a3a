;;; nemodiff.el --- Code completion on your own machine, by lsp-mode -*- lexical-binding: t; -*-

;; SPDX-License-Identifier: Apache-2.0
;; Package-Requires: ((emacs "29.1") (lsp-mode "10.0.0"))

;;; Commentary:

;; Registers NemoDiff's language server as one more server of lsp-mode, which shows its completions
;; as ghost text.  Needs lsp-mode 10, the first that knows inline completion.

;;; Code:

(require 'lsp-mode)
(require 'lsp-inline-completion)

(defgroup nemodiff nil
  "Code completion on your own machine."
  :group 'lsp-mode)

(defcustom nemodiff-command '("nemodiff" "lsp")
  "The command that starts the language server."
  :type '(repeat string))

(defcustom nemodiff-settings nil
  "Settings of the server, such as (:multiline \"never\"); see docs/settings.md."
  :type 'plist)

(defcustom nemodiff-major-modes '(prog-mode text-mode conf-mode)
  "Modes, and those derived from them, in which the server runs."
  :type '(repeat symbol))

(defun nemodiff--is-wanted (_file _mode)
  "Whether the server runs in the current buffer."
  (apply #'derived-mode-p nemodiff-major-modes))

(lsp-register-client
 (make-lsp-client
  :new-connection (lsp-stdio-connection (lambda () nemodiff-command))
  :activation-fn #'nemodiff--is-wanted
  :initialization-options (lambda () (when nemodiff-settings (list :nemodiff nemodiff-settings)))
  ;; Runs beside the language's own server.
  :add-on? t
  :priority -2
  :server-id 'nemodiff))

(defun nemodiff--execute (command &rest arguments)
  "Run the server's COMMAND with the plist ARGUMENTS; return its result."
  (lsp-request "workspace/executeCommand"
               (list :command command :arguments (vector arguments))))

(defun nemodiff-why ()
  "Say why nothing was shown for the last request in this buffer."
  (interactive)
  (message "NemoDiff: %s" (nemodiff--execute "nemodiff.why" :uri (lsp--buffer-uri))))

(defun nemodiff-toggle ()
  "Switch completions off or on."
  (interactive)
  (nemodiff--execute "nemodiff.toggle" :scope "global"))

(defun nemodiff-fill-holes (start end)
  "Fill all holes from START to END in one edit; the whole buffer without a region."
  (interactive (if (use-region-p) (list (region-beginning) (region-end))
                 (list (point-min) (point-max))))
  (nemodiff--execute "nemodiff.fillHoles" :uri (lsp--buffer-uri)
                     :range (lsp--region-to-range start end)))

(provide 'nemodiff)
;;; nemodiff.el ends here
