//! Runs pieces of the router, for a program that counts their instructions: `cargo xtask guard`.
//!
//! Without arguments it lists all pieces: name, calls and counted threads, separated by tabs. With names of
//! pieces it runs those, one after the other.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a command-line tool prints to the terminal")]

use router_bench::pieces::{self, Piece};
use std::process::ExitCode;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let wanted: Vec<String> = std::env::args().skip(1).collect();
    if wanted.is_empty() {
        for Piece { name, calls, threads, .. } in pieces::all() {
            println!("{name}\t{calls}\t{}", threads.as_str());
        }
    }
    for name in wanted {
        let Some(piece) = pieces::all().into_iter().find(|piece| piece.name == name) else {
            eprintln!("instruction-pieces: there is no piece called {name}");
            return ExitCode::FAILURE;
        };
        let mut ready = piece.prepare();
        measured(&mut *ready);
    }
    ExitCode::SUCCESS
}

/// The function whose instructions are counted, found by its name. It must stay a function of its own.
#[inline(never)]
fn measured(work: &mut dyn FnMut()) {
    work();
}
