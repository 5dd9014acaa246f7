//! Wheels, their options, and the draw.

use serde::{Deserialize, Serialize};

/// Colours for options that come without one; neighbours differ well.
const PALETTE: [&str; 8] = [
    "#ef476f", "#f78c6b", "#ffd166", "#83d483", "#06d6a0", "#0cb0a9", "#118ab2", "#7b5ea7",
];

/// One slice of a wheel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Choice {
    pub label: String,
    /// `#rrggbb`; empty means that the palette decides.
    #[serde(default)]
    pub color: String,
    /// How often it comes up, against the others.
    #[serde(default = "one")]
    pub weight: f64,
}

fn one() -> f64 {
    1.0
}

/// A wheel that is kept.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Wheel {
    pub id: String,
    pub name: String,
    pub options: Vec<Choice>,
    pub created_at: String,
    pub spins: u64,
}

/// What a client sends to make one.
#[derive(Debug, Deserialize)]
pub struct NewWheel {
    pub name: String,
    pub options: Vec<Choice>,
}

/// What a client sends to spin: a kept wheel by its id, or options of its own.
#[derive(Debug, Deserialize)]
pub struct SpinRequest {
    #[serde(default)]
    pub wheel_id: String,
    #[serde(default)]
    pub session_id: String,
    #[serde(default)]
    pub options: Vec<Choice>,
}

/// How a spin ended.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Spin {
    pub result: String,
    /// Position of the result among the options, so that the page can stop there.
    pub index: usize,
    pub wheel_id: String,
    pub session_id: String,
    pub timestamp: String,
}

/// Checks a name and trims it.
pub fn checked_name(name: &str) -> Result<String, String> {
    let name = name.trim();
    match name.chars().count() {
        0 => Err("a wheel needs a name".to_owned()),
        1..=60 => Ok(name.to_owned()),
        _ => Err("the name of a wheel has at most 60 characters".to_owned()),
    }
}

/// Checks options, trims their labels and colours those that have no colour.
pub fn checked_options(options: Vec<Choice>) -> Result<Vec<Choice>, String> {
    if !(2..=40).contains(&options.len()) {
        return Err(format!(
            "a wheel has 2 to 40 options, not {}",
            options.len()
        ));
    }
    options
        .into_iter()
        .enumerate()
        .map(|(index, option)| {
            let label = option.label.trim().to_owned();
            if label.is_empty() || label.chars().count() > 60 {
                return Err(format!(
                    "option {}: a label has 1 to 60 characters",
                    index + 1
                ));
            }
            if !(option.weight > 0.0 && option.weight <= 1000.0) {
                return Err(format!("`{label}`: a weight is above 0 and at most 1000"));
            }
            let color = if option.color.is_empty() {
                PALETTE[index % PALETTE.len()].to_owned()
            } else if is_color(&option.color) {
                option.color
            } else {
                return Err(format!("`{label}`: a colour looks like #12ab9f"));
            };
            Ok(Choice {
                label,
                color,
                weight: option.weight,
            })
        })
        .collect()
}

fn is_color(text: &str) -> bool {
    text.strip_prefix('#')
        .is_some_and(|digits| digits.len() == 6 && digits.bytes().all(|b| b.is_ascii_hexdigit()))
}

/// Finds the option under `point`, a number from 0 up to but without 1.
/// The caller has checked the options: there is one, and weights are above 0.
pub fn pick(options: &[Choice], point: f64) -> usize {
    let total: f64 = options.iter().map(|option| option.weight).sum();
    let mut left = point * total;
    for (index, option) in options.iter().enumerate() {
        left -= option.weight;
        if left < 0.0 {
            return index;
        }
    }
    // Rounding may leave a crumb behind the last option.
    options.len().saturating_sub(1)
}

/// A random number from 0 up to but without 1, from the system's own source.
pub fn random_point() -> Result<f64, getrandom::Error> {
    // 53 bits are what an f64 holds exactly.
    Ok((getrandom::u64()? >> 11) as f64 / (1_u64 << 53) as f64)
}

/// A new id: lower-case hexadecimal, so that it fits into any path.
pub fn random_id() -> Result<String, getrandom::Error> {
    Ok(format!("{:016x}", getrandom::u64()?))
}

/// The wheels of a fresh installation.
pub fn starters(now: &str) -> Vec<Wheel> {
    let wheel = |id: &str, name: &str, labels: &[(&str, f64)]| Wheel {
        id: id.to_owned(),
        name: name.to_owned(),
        options: labels
            .iter()
            .enumerate()
            .map(|(index, (label, weight))| Choice {
                label: (*label).to_owned(),
                color: PALETTE[index % PALETTE.len()].to_owned(),
                weight: *weight,
            })
            .collect(),
        created_at: now.to_owned(),
        spins: 0,
    };
    vec![
        wheel(
            "friday-night",
            "Friday night",
            &[
                ("Film", 2.0),
                ("Board games", 2.0),
                ("Cook something new", 1.0),
                ("Karaoke", 1.0),
                ("Long walk", 1.0),
                ("Read", 1.0),
                ("Early to bed", 0.5),
            ],
        ),
        wheel(
            "yes-or-no",
            "Yes or no",
            &[("Yes", 1.0), ("No", 1.0), ("Ask again", 0.25)],
        ),
        wheel(
            "whose-turn",
            "Whose turn is it?",
            &[
                ("Ada", 1.0),
                ("Grace", 1.0),
                ("Linus", 1.0),
                ("Margaret", 1.0),
            ],
        ),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn options(weights: &[f64]) -> Vec<Choice> {
        weights
            .iter()
            .enumerate()
            .map(|(index, weight)| Choice {
                label: format!("option {index}"),
                color: String::new(),
                weight: *weight,
            })
            .collect()
    }

    #[test]
    fn a_draw_gives_each_option_its_share() {
        let wheel = options(&[1.0, 3.0, 0.5, 5.5]);
        let mut hits = [0; 4];
        for step in 0..10_000 {
            hits[pick(&wheel, f64::from(step) / 10_000.0)] += 1;
        }
        assert_eq!(hits, [1000, 3000, 500, 5500]);
        assert_eq!(
            pick(&wheel, 1.0),
            3,
            "a rounding crumb belongs to the last option"
        );
    }

    #[test]
    fn options_are_checked_and_coloured() {
        let checked = checked_options(options(&[1.0; 9])).expect("fine options");
        assert_eq!(
            checked[0].color, checked[8].color,
            "the palette starts again"
        );
        assert_ne!(checked[0].color, checked[1].color);

        for (bad, why) in [
            (options(&[1.0]), "2 to 40"),
            (options(&[1.0, 0.0]), "above 0"),
            (options(&[1.0, f64::NAN]), "above 0"),
            (
                vec![
                    Choice {
                        label: "  ".into(),
                        color: String::new(),
                        weight: 1.0
                    };
                    2
                ],
                "label",
            ),
            (
                vec![
                    Choice {
                        label: "x".into(),
                        color: "red".into(),
                        weight: 1.0
                    };
                    2
                ],
                "#12ab9f",
            ),
        ] {
            let message = checked_options(bad).expect_err("bad options");
            assert!(message.contains(why), "{message}");
        }
    }

    #[test]
    fn starters_pass_their_own_check() {
        for wheel in starters("2026-01-01T00:00:00.000Z") {
            assert_eq!(checked_options(wheel.options.clone()), Ok(wheel.options));
            assert_eq!(checked_name(&wheel.name), Ok(wheel.name));
        }
    }

    #[test]
    fn random_points_stay_in_range() {
        for _ in 0..1000 {
            let point = random_point().expect("the system has randomness");
            assert!((0.0..1.0).contains(&point));
        }
    }
}
