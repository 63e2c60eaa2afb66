//! Connects to the first of several addresses that answers (RFC 8305, "happy eyeballs").
//!
//! A name may have addresses of two families, or several of one, and some may swallow what is sent to them. Tried one after
//! the other, a dead address costs the whole connect timeout; here the next one is tried after 250 ms, and the first
//! connection that is established is taken.

use futures_util::stream::{FuturesUnordered, StreamExt as _};
use smallvec::SmallVec;
use std::io;
use std::net::SocketAddr;
use std::time::Duration;
use tokio::time::{Instant, sleep, sleep_until};

/// After this, the next address is tried while the earlier ones go on (RFC 8305, section 5).
const ATTEMPT_DELAY: Duration = Duration::from_millis(250);

/// The addresses that were tried without success, and why each failed; `None` where no answer came in time.
pub(crate) type FailedAddresses = SmallVec<[(SocketAddr, Option<io::Error>); 1]>;

/// Connects to the first of `addresses` that answers until `deadline`. An address that fails at once makes way for the next.
///
/// # Errors
/// When none answers: the addresses that were tried.
pub(crate) async fn connect_first<S, F>(
    addresses: &[SocketAddr],
    deadline: Instant,
    connect: impl Fn(SocketAddr) -> F,
) -> Result<S, FailedAddresses>
where
    F: Future<Output = io::Result<S>>,
{
    let mut waiting = interleaved(addresses).into_iter();
    let mut attempts = FuturesUnordered::new();
    let mut tried = FailedAddresses::new();
    loop {
        if let Some(address) = waiting.next() {
            let attempt = connect(address);
            attempts.push(async move { (address, attempt.await) });
            tried.push((address, None));
        }
        let next = async {
            if waiting.len() == 0 { std::future::pending().await } else { sleep(ATTEMPT_DELAY).await }
        };
        tokio::select! {
            biased;
            ended = attempts.next() => match ended {
                Some((_, Ok(stream))) => return Ok(stream),
                Some((address, Err(error))) => {
                    if let Some((_, failure)) = tried.iter_mut().find(|(tried, _)| *tried == address) {
                        *failure = Some(error);
                    }
                }
                None => return Err(tried),
            },
            () = next => {}
            () = sleep_until(deadline) => return Err(tried),
        }
    }
}

/// The addresses in the order in which they are tried: the system's order, with the families taking turns, because all
/// addresses of one family may be unreachable together (RFC 8305, section 4). None twice.
fn interleaved(addresses: &[SocketAddr]) -> SmallVec<[SocketAddr; 4]> {
    let is_of_first =
        |address: &&SocketAddr| addresses.first().is_some_and(|f| f.is_ipv4() == address.is_ipv4());
    let (mut first, mut second) =
        (addresses.iter().filter(is_of_first), addresses.iter().filter(|a| !is_of_first(a)));
    let mut ordered = SmallVec::new();
    while ordered.len() < addresses.len() {
        ordered.extend([first.next(), second.next()].into_iter().flatten().copied());
    }
    let mut seen = SmallVec::<[SocketAddr; 4]>::new();
    ordered.retain(|address| {
        let is_new = !seen.contains(address);
        seen.push(*address);
        is_new
    });
    ordered
}

#[cfg(test)]
mod tests {
    use super::*;

    const DEADLINE: Duration = Duration::from_secs(10);

    fn address(text: &str) -> SocketAddr {
        text.parse().unwrap()
    }

    /// What an address does with a connection: `+` accepts it, `-` refuses it, `.` swallows it.
    type Hosts<'a> = &'a [(&'a str, char)];

    /// The address that was taken, or the failures; and how long that took.
    async fn connect(hosts: Hosts<'_>) -> (Result<SocketAddr, Vec<(SocketAddr, bool)>>, Duration) {
        let addresses: Vec<_> = hosts.iter().map(|(text, _)| address(text)).collect();
        let began = Instant::now();
        let taken = connect_first(&addresses, began + DEADLINE, |to| async move {
            match hosts.iter().find(|(text, _)| address(text) == to).unwrap().1 {
                '+' => Ok(to),
                '-' => Err(io::ErrorKind::ConnectionRefused.into()),
                _ => std::future::pending().await,
            }
        });
        let taken = taken.await.map_err(|all| all.into_iter().map(|(a, e)| (a, e.is_some())).collect());
        (taken, began.elapsed())
    }

    #[tokio::test(start_paused = true)]
    async fn dead_address_costs_a_quarter_second() {
        for (hosts, expected, took) in [
            (&[("[::1]:1", '+'), ("127.0.0.1:1", '+')][..], "[::1]:1", 0),
            (&[("[::1]:1", '.'), ("127.0.0.1:1", '+')], "127.0.0.1:1", 250),
            (&[("10.0.0.1:1", '.'), ("10.0.0.2:1", '+')], "10.0.0.2:1", 250),
            (&[("10.0.0.1:1", '-'), ("10.0.0.2:1", '+')], "10.0.0.2:1", 0),
            (&[("10.0.0.1:1", '.'), ("10.0.0.2:1", '-'), ("10.0.0.3:1", '+')], "10.0.0.3:1", 250),
            // The other family is tried second.
            (&[("[::1]:1", '.'), ("[::2]:1", '.'), ("127.0.0.1:1", '+')], "127.0.0.1:1", 250),
        ] {
            let (taken, time) = connect(hosts).await;
            assert_eq!(taken, Ok(address(expected)), "{hosts:?}");
            // The timer of a paused clock has a resolution of a millisecond.
            assert!((took..took + 5).contains(&time.as_millis()), "{hosts:?}: {time:?}");
        }
    }

    #[tokio::test(start_paused = true)]
    async fn every_failed_address_is_named() {
        let hosts = &[("[::1]:1", '.'), ("127.0.0.1:1", '-'), ("[::1]:1", '.')];
        let (taken, time) = connect(hosts).await;
        assert_eq!(taken, Err(vec![(address("[::1]:1"), false), (address("127.0.0.1:1"), true)]));
        assert!(time >= DEADLINE, "{time:?}");
        let (taken, time) = connect(&[("127.0.0.1:1", '-'), ("[::1]:1", '-')]).await;
        assert_eq!(taken.unwrap_err().len(), 2);
        assert_eq!(time, Duration::ZERO, "nothing is left to wait for");
    }

    #[test]
    fn families_take_turns() {
        let all = ["[::1]:1", "[::2]:1", "[::3]:1", "1.1.1.1:1", "2.2.2.2:1", "[::1]:1"].map(address);
        let expected = ["[::1]:1", "1.1.1.1:1", "[::2]:1", "2.2.2.2:1", "[::3]:1"].map(address);
        assert_eq!(interleaved(&all).to_vec(), expected);
        assert!(interleaved(&[]).is_empty());
    }
}
