//! When a certificate is renewed, and when a try that failed is made again. Pure: times and
//! chance come from outside.

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use serde::{Deserialize, Serialize};

/// The first wait after a failure that an authority counts; each further one doubles it. One that
/// allows five failures of a name an hour (Let's Encrypt) is never near its limit.
const FIRST_WAIT: SignedDuration = SignedDuration::from_mins(15);
/// The longest wait.
const LONGEST_WAIT: SignedDuration = SignedDuration::from_hours(24);
/// The same of what no authority has heard of.
const HERE: (SignedDuration, SignedDuration) = (SignedDuration::from_mins(1), SignedDuration::from_hours(1));
/// The longest wait after a success.
const AFTER_SUCCESS: SignedDuration = SignedDuration::from_hours(12);
/// The least after an authority said "too many" and no time.
const LIMITED_WAIT: SignedDuration = SignedDuration::from_hours(1);
/// An authority's wish is asked for no more and no less often than this.
const ASK_AGAIN: (SignedDuration, SignedDuration) =
    (SignedDuration::from_mins(1), SignedDuration::from_hours(24));

/// When an authority would like a certificate to be renewed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Window {
    start: Timestamp,
    end: Timestamp,
    /// From then on it may be asked whether that is still so.
    pub(super) ask_again_at: Timestamp,
}

impl Window {
    /// None for one that is none.
    pub(super) fn new(start: Timestamp, end: Timestamp, wait: Duration, now: Timestamp) -> Option<Self> {
        let wait = SignedDuration::try_from(wait).ok()?.clamp(ASK_AGAIN.0, ASK_AGAIN.1);
        (start < end).then_some(Self { start, end, ask_again_at: now + wait })
    }
}

/// When to renew a certificate. `point` of 1000 says where in the span that there is for it: in
/// what the authority wishes, or else between 60 and 67 hundredths of its life, so that what was
/// ordered together is not renewed together. Never after nine tenths of its life, whatever is
/// wished.
pub(super) fn renew_at(
    not_before: Timestamp,
    not_after: Timestamp,
    window: Option<Window>,
    point: u16,
) -> Timestamp {
    let life = not_after.duration_since(not_before);
    let part = |hundredths: i32| not_before + life / 100 * hundredths;
    let (start, end) = window.map_or((part(60), part(67)), |window| (window.start, window.end));
    let within = end.duration_since(start) / 1000 * i32::from(point.min(1000));
    (start + within).min(part(90))
}

/// Between two hosts of one name that each renew on their own: an authority allows few certificates
/// for the same names in a week.
const BETWEEN_HOSTS: SignedDuration = SignedDuration::from_hours(48);

/// The same for one of several hosts that share a certificate: one after the other from `first` on,
/// two days apart where there is so much time, so that one account does not order the same many
/// times at once. The last one is still before nine tenths of its life.
pub(super) fn in_turn(
    first: Timestamp,
    not_before: Timestamp,
    not_after: Timestamp,
    turn: Turn,
) -> Timestamp {
    let last = not_before + not_after.duration_since(not_before) / 100 * 90;
    let span = last.duration_since(first).max(SignedDuration::ZERO);
    let hosts = i32::try_from(turn.of.max(1)).unwrap_or(i32::MAX);
    let step = (span / hosts).min(BETWEEN_HOSTS);
    first + step * i32::try_from(turn.at.min(turn.of)).unwrap_or(i32::MAX)
}

/// Which of several hosts this is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Turn {
    /// From 0.
    pub at: u32,
    /// How many there are.
    pub of: u32,
}

impl Default for Turn {
    fn default() -> Self {
        Self { at: 0, of: 1 }
    }
}

/// From when on a certificate that was just issued may be ordered again. If it is lost at once, or
/// the machine's clock is so far ahead that it seems old at once, orders must not go round.
pub(super) fn after_success(now: Timestamp, not_before: Timestamp, not_after: Timestamp) -> Timestamp {
    now + (not_after.duration_since(not_before) / 4).min(AFTER_SUCCESS)
}

/// From when on a try may be made again: after ever longer waits (`point` of 1000 spreads them by
/// a fifth), and never before the authority said.
pub(super) fn again_at(now: Timestamp, failed: u32, why: Why, point: u16) -> Timestamp {
    let (first, longest) = if why == Why::Here { HERE } else { (FIRST_WAIT, LONGEST_WAIT) };
    let doubled = first.saturating_mul(1 << failed.saturating_sub(1).min(10)).min(longest);
    let spread = doubled / 5000 * i32::from(point.min(1000));
    let at = now + doubled + spread;
    match why {
        // Two weeks: a wait of a year would be a mistake.
        Why::Limited(Some(said)) => at.max(said.min(now + LONGEST_WAIT * 14)),
        Why::Limited(None) => at.max(now + LIMITED_WAIT),
        Why::Here | Why::Asked => at,
    }
}

/// Why a try failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Why {
    /// No authority has heard of it.
    Here,
    /// The authority was asked.
    Asked,
    /// It asks to wait, until a time if it says one.
    Limited(Option<Timestamp>),
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> Timestamp {
        text.parse().unwrap()
    }

    #[test]
    fn a_certificate_is_renewed_after_two_thirds_of_its_life() {
        let (from, to) = (at("2026-01-01T00:00:00Z"), at("2026-04-01T00:00:00Z"));
        let early = renew_at(from, to, None, 0);
        let late = renew_at(from, to, None, 1000);
        assert_eq!(early, at("2026-02-24T00:00:00Z"));
        assert_eq!(late, at("2026-03-02T07:12:00Z"));
        assert!(early < renew_at(from, to, None, 500) && renew_at(from, to, None, 500) < late);
        // Seconds work as well as months.
        let short = renew_at(from, from + SignedDuration::from_secs(12), None, 500);
        assert!((7..=9).contains(&short.duration_since(from).as_secs()));
    }

    #[test]
    fn the_authoritys_wish_comes_first_but_not_too_late() {
        let (from, to) = (at("2026-01-01T00:00:00Z"), at("2026-04-01T00:00:00Z"));
        let window = |start: &str, end: &str| Window::new(at(start), at(end), Duration::from_secs(60), from);
        let early = window("2026-01-05T00:00:00Z", "2026-01-07T00:00:00Z");
        assert_eq!(renew_at(from, to, early, 500), at("2026-01-06T00:00:00Z"));
        let after_its_end = window("2026-05-05T00:00:00Z", "2026-05-07T00:00:00Z");
        assert_eq!(renew_at(from, to, after_its_end, 500), at("2026-03-23T00:00:00Z"));
        assert_eq!(window("2026-05-07T00:00:00Z", "2026-05-05T00:00:00Z"), None);
        let asked = Window::new(from, to, Duration::MAX, from);
        assert!(asked.is_none_or(|window| window.ask_again_at == from + ASK_AGAIN.1));
        let hasty = Window::new(from, to, Duration::ZERO, from).unwrap();
        assert_eq!(hasty.ask_again_at, from + ASK_AGAIN.0);
    }

    #[test]
    fn hosts_of_one_name_renew_one_after_the_other_and_all_in_time() {
        let (from, to) = (at("2026-01-01T00:00:00Z"), at("2026-04-01T00:00:00Z"));
        let first = renew_at(from, to, None, 500);
        let when = |at, of| in_turn(first, from, to, Turn { at, of });
        assert_eq!(when(0, 1), first);
        assert_eq!(when(0, 3), first);
        assert_eq!(when(2, 3), first + BETWEEN_HOSTS * 2);
        let many = when(99, 100);
        assert!(when(98, 100) < many && many <= from + (to.duration_since(from)) / 100 * 90);
        // Seconds work as well as months, and a first time that is too late moves nobody.
        let short = from + SignedDuration::from_secs(100);
        let second = in_turn(renew_at(from, short, None, 0), from, short, Turn { at: 1, of: 2 });
        assert_eq!(second.duration_since(from).as_secs(), 75);
        assert_eq!(in_turn(to, from, to, Turn { at: 1, of: 2 }), to);
    }

    #[test]
    fn a_clock_that_is_far_ahead_orders_twice_a_day_at_most() {
        let (from, to) = (at("2026-01-01T00:00:00Z"), at("2026-04-01T00:00:00Z"));
        let ahead = at("2026-03-20T00:00:00Z");
        assert!(renew_at(from, to, None, 1000) < ahead);
        assert_eq!(after_success(ahead, from, to), ahead + AFTER_SUCCESS);
        // A certificate for seconds is renewed in time all the same.
        let to = from + SignedDuration::from_secs(12);
        assert!(after_success(from, from, to) < renew_at(from, to, None, 0));
    }

    #[test]
    fn failures_are_repeated_ever_later_and_never_before_the_authority_said() {
        let now = at("2026-01-01T00:00:00Z");
        let wait = |failed, why, point| again_at(now, failed, why, point).duration_since(now);
        assert_eq!(wait(1, Why::Asked, 0), FIRST_WAIT);
        assert_eq!(wait(2, Why::Asked, 0), FIRST_WAIT * 2);
        assert_eq!(wait(1, Why::Asked, 1000), FIRST_WAIT * 6 / 5);
        assert_eq!(wait(60, Why::Asked, 0), LONGEST_WAIT);
        assert_eq!(wait(u32::MAX, Why::Asked, 0), LONGEST_WAIT);
        assert_eq!(wait(1, Why::Here, 0), HERE.0);
        assert_eq!(wait(60, Why::Here, 0), HERE.1);
        assert_eq!(wait(1, Why::Limited(None), 0), LIMITED_WAIT);
        let said = now + SignedDuration::from_hours(5);
        assert_eq!(wait(1, Why::Limited(Some(said)), 0), SignedDuration::from_hours(5));
        assert_eq!(wait(60, Why::Limited(Some(now)), 0), LONGEST_WAIT);
        assert_eq!(wait(1, Why::Limited(Some(Timestamp::MAX)), 0), LONGEST_WAIT * 14);
        // Within an hour there are never five tries.
        let (mut tries, mut at) = (0, now);
        while at < now + SignedDuration::from_hours(1) {
            tries += 1;
            at = again_at(at, tries, Why::Asked, 0);
        }
        assert!(tries < 5, "{tries}");
    }
}
