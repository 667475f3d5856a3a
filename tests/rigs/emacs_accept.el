;;; emacs_accept.el --- In a test: one completion shown and accepted, in batch -*- lexical-binding: t; -*-

;; Environment: NEMODIFF_TEST_LISP (folders of packages), NEMODIFF_TEST_COMMAND (words of the
;; server's command), NEMODIFF_TEST_FILE, NEMODIFF_TEST_TYPED.  Prints what is offered and, in the
;; end, the file as it is then.

(setq native-comp-enable-subr-trampolines nil native-comp-jit-compilation nil)
(dolist (folder (split-string (getenv "NEMODIFF_TEST_LISP") ":"))
  (add-to-list 'load-path folder))
(setq lsp-session-file (expand-file-name "session" user-emacs-directory)
      lsp-enable-suggest-server-download nil
      lsp-auto-guess-root t
      lsp-guess-root-without-session t
      lsp-enable-file-watchers nil
      lsp-lens-enable nil)
(require 'nemodiff)
(setq lsp-client-packages nil
      nemodiff-settings '(:invokedDeadlineMs 60000)
      nemodiff-command (split-string (getenv "NEMODIFF_TEST_COMMAND") "\n"))

(defun wait-for (condition)
  "Wait until CONDITION is true of something."
  (let ((limit (+ (float-time) 60)))
    (while (not (funcall condition))
      (when (> (float-time) limit) (error "Waited in vain"))
      (accept-process-output nil 0.05))))

(find-file (getenv "NEMODIFF_TEST_FILE"))
(lsp-workspace-folders-add default-directory)
(lsp)
(wait-for (lambda () (lsp-feature? "textDocument/inlineCompletion")))
(goto-char (point-max))
(insert (getenv "NEMODIFF_TEST_TYPED"))
(wait-for (lambda ()
            (lsp-inline-completion-display)
            lsp-inline-completion--items))
(message "offered: %S" (mapcar (lambda (item) (plist-get item :text)) lsp-inline-completion--items))
(lsp-inline-completion-accept)
(save-buffer)
(message "why: %s" (nemodiff-why))
(kill-emacs 0)
