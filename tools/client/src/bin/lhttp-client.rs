//! The program under its first name, for scripts that use it.

fn main() -> std::process::ExitCode {
    lhttp_cli::main()
}
