//! The program `sgl-router`: the command line of the library beside it.

use std::process::ExitCode;

/// The data plane allocates a little per request from several threads; mimalloc does that fastest, and its second version
/// faster than its third, which has a slow way for most sizes over a kilobyte.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    ExitCode::from(sgl_router::run(std::env::args_os()))
}
