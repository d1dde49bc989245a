//! The program.

fn main() -> std::process::ExitCode {
    lhttp_cli::main()
}
