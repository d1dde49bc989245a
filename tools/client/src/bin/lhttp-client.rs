//! The program under the name that it had first, for scripts that use it.

fn main() -> std::process::ExitCode {
    lhttp_cli::main()
}
