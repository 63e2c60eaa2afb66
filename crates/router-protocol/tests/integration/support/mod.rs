//! Finds the captured exchanges.
#![allow(
    dead_code,
    unreachable_pub,
    clippy::unwrap_used,
    reason = "each test file uses a part of this module, and a missing capture must fail the test"
)]

use std::path::{Path, PathBuf};

use bytes::Bytes;
use router_core::Route;

/// Folder of the captures that come with the crate.
pub fn data() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data")
}

/// The larger set of captures, outside the repository.
pub fn shared() -> Option<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/captures");
    dir.is_dir().then_some(dir)
}

/// The response body of one exchange, such as `vllm-0.32.0/chat`.
pub fn body(name: &str) -> Bytes {
    let path = data().join(format!("{name}.response.body"));
    Bytes::from(std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display())))
}

/// The route and the body of one request.
pub fn request(name: &str) -> (Route, Bytes) {
    let path = data().join(format!("{name}.request"));
    let bytes = std::fs::read(&path).unwrap_or_else(|e| panic!("{}: {e}", path.display()));
    split_request(&bytes)
}

fn split_request(bytes: &[u8]) -> (Route, Bytes) {
    let head_end = bytes.windows(4).position(|w| w == b"\r\n\r\n").unwrap_or(bytes.len() - 4);
    let head = String::from_utf8_lossy(&bytes[..head_end]).into_owned();
    let path = head.split(' ').nth(1).unwrap_or_default();
    (
        Route::of_path(path.split('?').next().unwrap_or_default()),
        Bytes::copy_from_slice(&bytes[head_end + 4..]),
    )
}

/// The route an exchange went to.
pub fn route(response: &Path) -> Route {
    let name = response.to_string_lossy().replace(".response.body", ".request");
    std::fs::read(name).map_or(Route::Other, |bytes| split_request(&bytes).0)
}

/// Every file under `dir` whose name ends in `suffix`, sorted.
pub fn files(dir: &Path, suffix: &str) -> Vec<PathBuf> {
    let mut found = Vec::new();
    let mut todo = vec![dir.to_path_buf()];
    while let Some(dir) = todo.pop() {
        for entry in std::fs::read_dir(dir).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                todo.push(path);
            } else if path.to_string_lossy().ends_with(suffix) {
                found.push(path);
            }
        }
    }
    found.sort();
    found
}
