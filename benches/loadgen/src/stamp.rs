//! The stamp in a payload: when it was published, found again whatever frames are around it.

use memchr::memchr_iter;
use rustix::time::{ClockId, clock_gettime};

/// `@T`, 19 digits of the monotonic clock in nanoseconds, `;`.
const LENGTH: usize = 22;

/// The monotonic clock, in nanoseconds.
pub(crate) fn now() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// A JSON payload of about so many bytes, published at `now`.
pub(crate) fn payload(bytes: usize, number: u64, now: u64) -> String {
    let mut text = format!(r#"{{"type":"message","id":{number},"at":"@T{now:019};","body":""#);
    let padding = bytes.saturating_sub(text.len() + 2);
    text.extend(std::iter::repeat_n('x', padding));
    text.push_str("\"}");
    text
}

/// Finds stamps in the bytes of one connection, also those that two reads tear apart.
#[derive(Default)]
pub(crate) struct Scanner {
    torn: [u8; LENGTH - 1],
    kept: u8,
}

impl Scanner {
    /// Calls `found` with the time of each stamp that ends in `fresh`.
    pub(crate) fn scan(&mut self, fresh: &[u8], mut found: impl FnMut(u64)) {
        let mut fresh = fresh;
        if self.kept > 0 {
            let kept = usize::from(self.kept);
            let take = (LENGTH - kept).min(fresh.len());
            let mut whole = [0; LENGTH];
            whole[..kept].copy_from_slice(&self.torn[..kept]);
            whole[kept..kept + take].copy_from_slice(&fresh[..take]);
            if kept + take < LENGTH {
                self.torn[kept..kept + take].copy_from_slice(&fresh[..take]);
                self.kept += take as u8;
                return;
            }
            self.kept = 0;
            if let Some(time) = time_of(&whole) {
                found(time);
                fresh = &fresh[take..];
            }
        }
        for at in memchr_iter(b'@', fresh) {
            match fresh.get(at..at + LENGTH) {
                Some(stamp) => time_of(stamp).into_iter().for_each(&mut found),
                None => {
                    let rest = &fresh[at..];
                    self.torn[..rest.len()].copy_from_slice(rest);
                    self.kept = rest.len() as u8;
                    return;
                }
            }
        }
    }
}

fn time_of(stamp: &[u8]) -> Option<u64> {
    let digits = stamp.strip_prefix(b"@T")?.strip_suffix(b";")?;
    digits.iter().try_fold(0_u64, |time, digit| {
        let value = digit.wrapping_sub(b'0');
        (value < 10).then(|| time.wrapping_mul(10) + u64::from(value))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stamps_are_found_however_the_stream_is_cut() {
        let mut stream = String::from("HTTP @ 200");
        for (number, time) in [7, 8, 123_456_789_012].into_iter().enumerate() {
            stream += &payload(120, number as u64, time);
        }
        for size in 1..stream.len() {
            let (mut scanner, mut times) = (Scanner::default(), Vec::new());
            for piece in stream.as_bytes().chunks(size) {
                scanner.scan(piece, |time| times.push(time));
            }
            assert_eq!(times, [7, 8, 123_456_789_012], "cut every {size} bytes");
        }
    }

    #[test]
    fn a_payload_is_json_of_the_size_asked_for() {
        let text = payload(200, 1, 2);
        assert_eq!(text.len(), 200);
        assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok());
    }
}
