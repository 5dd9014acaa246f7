//! Fisher's exact test, one-sided: how likely is it that so many of the bad ones fell to the
//! new release by chance alone?

/// The chance that at least `new_bad` of all bad ones are among `new_total`, were they spread
/// over both by lot. 1 when there is nothing to tell.
pub(super) fn tail(old_bad: u64, old_total: u64, new_bad: u64, new_total: u64) -> f64 {
    let (total, bad) = (old_total + new_total, old_bad + new_bad);
    if new_total == 0 || old_total == 0 || bad == 0 {
        return 1.0;
    }
    let most = bad.min(new_total);
    let all = ln_choose(total, new_total);
    let ln = |k: u64| -> f64 {
        if new_total - k > total - bad {
            return f64::NEG_INFINITY;
        }
        ln_choose(bad, k) + ln_choose(total - bad, new_total - k) - all
    };
    // Terms rise up to the mode and fall behind it; behind it they soon add nothing.
    let mut sum = 0.0;
    let mut last = 0.0;
    for k in new_bad..=most {
        let term = ln(k).exp();
        sum += term;
        if term < last && term < sum * 1e-12 {
            break;
        }
        last = term;
    }
    f64::min(sum, 1.0)
}

fn ln_choose(n: u64, k: u64) -> f64 {
    ln_factorial(n) - ln_factorial(k) - ln_factorial(n - k)
}

/// Stirling's series for large numbers, the product for small ones.
fn ln_factorial(n: u64) -> f64 {
    #[expect(clippy::cast_precision_loss, reason = "counts of requests are far below 2^52")]
    let x = n as f64;
    if n < 32 {
        return (2..=n).fold(0.0, |sum, i| {
            #[expect(clippy::cast_precision_loss, reason = "below 32")]
            let i = i as f64;
            sum + i.ln()
        });
    }
    let inverse = 1.0 / x;
    x * x.ln() - x + 0.5 * (2.0 * std::f64::consts::PI * x).ln() + inverse / 12.0 - inverse.powi(3) / 360.0
        + inverse.powi(5) / 1260.0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn known_values() {
        // The lady tasting tea: all four right is 1 of 70, at least three is 17 of 70.
        assert!((tail(0, 4, 4, 4) - 1.0 / 70.0).abs() < 1e-9);
        assert!((tail(1, 4, 3, 4) - 17.0 / 70.0).abs() < 1e-9);
        assert!((tail(0, 100, 0, 100) - 1.0).abs() < 1e-9);
        assert!((tail(5, 100, 0, 100) - 1.0).abs() < 1e-6);
    }

    #[test]
    fn large_counts_neither_overflow_nor_take_long() {
        assert!(tail(10_000, 1_000_000, 20_000, 1_000_000) < 1e-100);
        let even = tail(10_000, 1_000_000, 10_000, 1_000_000);
        assert!((0.4..0.6).contains(&even), "{even}");
    }
}
