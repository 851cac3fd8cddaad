//! Counts wrong admin tokens, and makes an address wait that sends many.

use std::collections::{HashMap, VecDeque};
use std::net::{IpAddr, Ipv6Addr};
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;
use tokio::time::Instant;

/// How many wrong guesses an address has in a minute.
const GUESSES: usize = 10;
const MINUTE: Duration = Duration::from_secs(60);

/// How many addresses are remembered, which takes less than 2 MiB. For one more, the address is
/// forgotten whose latest guess is the oldest: no address has to wait because of the guesses of
/// another.
const MAX_ADDRESSES: usize = 4096;

/// The outcome of a guess.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Verdict {
    Right,
    Wrong,
    /// It was not looked at, and will be after this time.
    Later(Duration),
}

/// The wrong guesses of the last minute, by address.
#[derive(Debug, Default)]
pub(crate) struct Guesses {
    wrong: AtomicU64,
    /// The latest of each address, oldest first: one at least, [`GUESSES`] at most.
    latest: Mutex<HashMap<IpAddr, VecDeque<Instant>>>,
}

impl Guesses {
    /// Judges one guess. While an address has to wait, not even the right token is recognised:
    /// otherwise a client could go on guessing at full speed.
    pub(crate) fn judge(
        &self,
        from: IpAddr,
        now: Instant,
        is_right: impl FnOnce() -> bool,
    ) -> Verdict {
        let from = subnet(from);
        // One lock over look and count: guesses made at once are counted one by one.
        let mut latest = self.latest.lock().unwrap_or_else(PoisonError::into_inner);
        let tenth = latest
            .get(&from)
            .filter(|times| times.len() == GUESSES)
            .and_then(|times| times.front());
        let wait = tenth.map_or(Duration::ZERO, |tenth| {
            MINUTE.saturating_sub(now.saturating_duration_since(*tenth))
        });
        if !wait.is_zero() {
            return Verdict::Later(wait);
        }
        if is_right() {
            return Verdict::Right;
        }
        self.wrong.fetch_add(1, Ordering::Relaxed);
        if !latest.contains_key(&from) {
            make_room(&mut latest, now);
        }
        let times = latest.entry(from).or_default();
        if times.len() == GUESSES {
            times.pop_front();
        }
        times.push_back(now);
        Verdict::Wrong
    }

    /// Returns how many wrong tokens were looked at.
    pub(crate) fn wrong(&self) -> u64 {
        self.wrong.load(Ordering::Relaxed)
    }
}

fn make_room(latest: &mut HashMap<IpAddr, VecDeque<Instant>>, now: Instant) {
    if latest.len() < MAX_ADDRESSES {
        return;
    }
    latest.retain(|_, times| {
        times.back().is_some_and(|last| now.saturating_duration_since(*last) < MINUTE)
    });
    if latest.len() >= MAX_ADDRESSES {
        let quietest = latest.iter().min_by_key(|(_, times)| times.back()).map(|(from, _)| *from);
        quietest.map(|from| latest.remove(&from));
    }
}

/// A network usually gives a client a whole /64 of IPv6 and not one address.
fn subnet(address: IpAddr) -> IpAddr {
    match address.to_canonical() {
        IpAddr::V6(address) => IpAddr::V6(Ipv6Addr::from_bits(address.to_bits() >> 64 << 64)),
        v4 => v4,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(begun: Instant, seconds: u64) -> Instant {
        begun + Duration::from_secs(seconds)
    }

    fn address(text: &str) -> IpAddr {
        text.parse().unwrap()
    }

    #[test]
    fn ten_wrong_guesses_in_any_minute_and_not_one_more() {
        let (guesses, begun, from) = (Guesses::default(), Instant::now(), address("192.0.2.1"));
        let guess = |at, right: bool| guesses.judge(from, after(begun, at), || right);
        for at in [0, 1, 2, 3, 4, 50, 50, 50, 50] {
            assert_eq!(guess(at, false), Verdict::Wrong);
        }
        assert_eq!(guess(50, true), Verdict::Right, "nine do not slow");
        assert_eq!(guess(50, false), Verdict::Wrong);
        for right in [true, false] {
            assert_eq!(guess(51, right), Verdict::Later(Duration::from_secs(9)));
            assert_eq!(guess(59, right), Verdict::Later(Duration::from_secs(1)));
        }
        // The first is a minute old, and makes room for one.
        assert_eq!(guess(60, false), Verdict::Wrong);
        assert_eq!(guess(60, true), Verdict::Later(Duration::from_secs(1)));
        assert_eq!(guess(61, true), Verdict::Right);
        assert_eq!(guess(61, true), Verdict::Right, "right ones are not counted");
        assert_eq!(guesses.wrong(), 11);
    }

    #[test]
    fn an_address_is_slowed_alone_with_the_64_bits_of_its_neighbourhood() {
        for (guesser, same, other) in [
            ("192.0.2.1", "::ffff:192.0.2.1", "192.0.2.2"),
            ("2001:db8:0:1::1", "2001:db8:0:1:ffff::2", "2001:db8:0:2::1"),
            ("::ffff:192.0.2.1", "192.0.2.1", "::ffff:192.0.2.2"),
        ] {
            let (guesses, now) = (Guesses::default(), Instant::now());
            for _ in 0..GUESSES {
                assert_eq!(guesses.judge(address(guesser), now, || false), Verdict::Wrong);
            }
            assert_eq!(
                guesses.judge(address(same), now, || true),
                Verdict::Later(MINUTE),
                "{same}"
            );
            assert_eq!(guesses.judge(address(other), now, || true), Verdict::Right, "{other}");
        }
    }

    #[test]
    fn que_3_only_so_many_addresses_are_remembered() {
        let (guesses, begun) = (Guesses::default(), Instant::now());
        let nth = |n: u32| IpAddr::from(n.to_be_bytes());
        let held = || guesses.latest.lock().unwrap().len();
        let most = u32::try_from(MAX_ADDRESSES).unwrap();
        for n in 0..most {
            for _ in 0..GUESSES {
                guesses.judge(nth(n), after(begun, u64::from(n % 2)), || false);
            }
        }
        assert_eq!(held(), MAX_ADDRESSES);
        guesses.judge(nth(most), after(begun, 2), || false);
        assert_eq!(held(), MAX_ADDRESSES, "one of the quietest was forgotten");
        let slowed = |n| guesses.judge(nth(n), after(begun, 2), || true) != Verdict::Right;
        assert_eq!((0..most).filter(|n| slowed(*n)).count(), MAX_ADDRESSES - 1);
        assert!((1..most).step_by(2).all(slowed), "none of those that guessed later");
        // A minute later, all of it is history.
        guesses.judge(nth(most + 1), after(begun, 62), || false);
        assert_eq!(held(), 1);
    }
}
