//! The scale of a line of time.

/// A mark of the scale.
pub struct Tick {
    /// From the left, percent.
    pub left: String,
    pub label: String,
    /// From the left, on the line of the bars.
    pub x: u32,
}

/// Steps between marks, seconds; the last one doubles until it fits.
const STEPS: &[f64] = &[0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0, 15.0, 30.0, 60.0, 120.0, 300.0, 600.0, 1200.0, 3600.0];
/// Most marks after the first: more would run into each other on a phone.
const MOST: f64 = 5.0;

/// Round times from the line's begin to its end.
pub fn ticks(whole: f64) -> Vec<Tick> {
    let step = STEPS.iter().copied().find(|step| whole / step <= MOST);
    let step = step.unwrap_or_else(|| {
        let mut step = 7200.0;
        while whole / step > MOST {
            step *= 2.0;
        }
        step
    });
    let marks = (whole / step).floor() as u32;
    // a label at the very end would stand out over it
    let fits = |at: &f64| at / whole <= 0.96;
    (0..=marks).map(|mark| f64::from(mark) * step).filter(fits).map(|at| tick(at, at / whole, step)).collect()
}

fn tick(at: f64, share: f64, step: f64) -> Tick {
    let label = match at {
        _ if step < 1.0 => format!("{at:.1} s"),
        _ if at < 60.0 => format!("{at} s"),
        _ if at % 60.0 > 0.0 => format!("{}:{:02} min", at as u64 / 60, at as u64 % 60),
        _ if at < 7200.0 => format!("{} min", at as u64 / 60),
        _ => format!("{:.0} h", at / 3600.0),
    };
    Tick { left: format!("{:.1}", share * 100.0), label, x: (share * 1000.0) as u32 }
}

/// The marks as lines through a bar.
pub fn grid(ticks: &[Tick]) -> String {
    ticks.iter().skip(1).map(|tick| format!("M{} 0v10", tick.x)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn marks_are_round_and_few() {
        let labels = |whole: f64| ticks(whole).into_iter().map(|tick| tick.label).collect::<Vec<_>>().join(", ");
        for (whole, expected) in [
            (0.4, "0.0 s, 0.1 s, 0.2 s, 0.3 s"),
            (24.2, "0 s, 5 s, 10 s, 15 s, 20 s"),
            (75.0, "0 s, 15 s, 30 s, 45 s, 1 min"),
            (100.0, "0 s, 30 s, 1 min, 1:30 min"),
            (600.0, "0 s, 2 min, 4 min, 6 min, 8 min"),
            (40_000.0, "0 s, 4 h, 8 h"),
        ] {
            assert_eq!(labels(whole), expected, "{whole}");
        }
        assert!(ticks(1e9).len() <= 7 && ticks(0.001).len() <= 7);
    }
}
