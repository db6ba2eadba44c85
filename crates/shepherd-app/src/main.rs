//! The `shepherd` binary; see `shepherd --help`.

use std::process::ExitCode;

fn main() -> ExitCode {
    shepherd_app::main()
}
