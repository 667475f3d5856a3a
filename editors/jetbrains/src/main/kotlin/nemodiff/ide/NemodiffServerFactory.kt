package nemodiff.ide

import com.intellij.execution.configurations.GeneralCommandLine
import com.intellij.ide.impl.isTrusted
import com.intellij.openapi.project.Project
import com.intellij.psi.PsiFile
import com.redhat.devtools.lsp4ij.LanguageServerFactory
import com.redhat.devtools.lsp4ij.client.LanguageClientImpl
import com.redhat.devtools.lsp4ij.client.features.LSPClientFeatures
import com.redhat.devtools.lsp4ij.client.features.LSPInlineCompletionFeature
import com.redhat.devtools.lsp4ij.server.CannotStartProcessException
import com.redhat.devtools.lsp4ij.server.OSProcessStreamConnectionProvider
import com.redhat.devtools.lsp4ij.server.StreamConnectionProvider
import nemodiff.core.ServerDiscovery
import nemodiff.core.ServerStatus
import org.eclipse.lsp4j.ClientInfo
import org.eclipse.lsp4j.InitializeParams
import java.nio.file.Path

/** LSP4IJ's way to our server; named in plugin.xml. */
class NemodiffServerFactory : LanguageServerFactory {
    override fun createConnectionProvider(project: Project): StreamConnectionProvider =
        NemodiffConnection(project)

    override fun createLanguageClient(project: Project): LanguageClientImpl =
        NemodiffLanguageClient(project)

    override fun createClientFeatures(): LSPClientFeatures =
        NemodiffFeatures().setInlineCompletionFeature(NoInlineCompletion())
}

/** Finds and starts the server when LSP4IJ wants it. */
private class NemodiffConnection(private val project: Project) :
    OSProcessStreamConnectionProvider() {
    override fun start() {
        val base = project.getBasePath()
        val trusted = listOfNotNull(base?.takeIf { project.isTrusted() }?.let(Path::of))
        val home = Path.of(System.getProperty("user.home"))
        val isWindows = System.getProperty("os.name").startsWith("Windows")
        val discovery = ServerDiscovery(System.getenv(), home, isWindows)
        val setting = NemodiffSettings.get().getState().serverCommand
        when (val outcome = discovery.find(setting, trusted)) {
            is ServerDiscovery.Outcome.Found ->
                setCommandLine(commandLine(outcome.server.command, base))
            is ServerDiscovery.Outcome.Missing -> refuse(outcome.sentence)
        }
        super.start()
    }

    private fun commandLine(command: List<String>, folder: String?) =
        GeneralCommandLine(command).apply { if (folder != null) setWorkDirectory(folder) }

    private fun refuse(sentence: String): Nothing {
        NemodiffProject.of(project).apply {
            show(ServerStatus(ServerStatus.Kind.ERROR, sentence))
            warn(sentence)
        }
        throw CannotStartProcessException(sentence)
    }
}

private class NemodiffFeatures : LSPClientFeatures() {
    override fun initializeParams(initializeParams: InitializeParams) {
        initializeParams.setInitializationOptions(
            NemodiffSettings.get().server.initializationOptions(getProject().isTrusted()),
        )
        // By the IDE's own name the server knows LSP4IJ's client, which draws otherwise.
        initializeParams.setClientInfo(ClientInfo("NemoDiff plugin", null))
    }
}

/** Ours asks by itself (NemodiffCompletionProvider); LSP4IJ's would draw everything twice. */
private class NoInlineCompletion : LSPInlineCompletionFeature() {
    override fun isEnabled(file: PsiFile): Boolean = false

    override fun isSupported(file: PsiFile): Boolean = false
}
