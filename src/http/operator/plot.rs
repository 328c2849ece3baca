//! Bars by day, as SVG made here: no script, no picture from elsewhere, and the same figures as a table.

use std::collections::HashMap;

use maud::{Markup, html};

use crate::artifact::query::Share;
use crate::artifact::time::Timestamp;
use crate::http::pages::format::size;

/// Days shown, today the last.
pub const DAYS: i64 = 30;
const DAY: i64 = 86_400;
/// In units of the drawing.
const STEP: u64 = 20;
const HEIGHT: u64 = 160;

/// One day's bytes.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Day {
    /// `2026-11-23`.
    pub date: String,
    pub logical: u64,
    /// Of those, bytes that deduplication left to store.
    pub new: u64,
}

impl Day {
    pub fn saved(&self) -> u64 {
        self.logical.saturating_sub(self.new)
    }
}

/// The last days, those without a file among them.
#[must_use]
pub fn days(shares: &[Share], now: Timestamp) -> Vec<Day> {
    let known: HashMap<&str, &Share> = shares.iter().filter_map(|s| Some((s.key.as_deref()?, s))).collect();
    let today = now.parts().0.div_euclid(DAY);
    let all = (today - DAYS + 1..=today).map(|day| {
        let date = Timestamp::from_parts(day * DAY, 0).to_rfc3339();
        let date = date.get(..10).unwrap_or_default().to_owned();
        let share = known.get(date.as_str());
        Day { logical: share.map_or(0, |s| s.logical_bytes), new: share.map_or(0, |s| s.new_bytes), date }
    });
    all.collect()
}

/// A figure of one quantity. `class` colours its bars.
pub fn figure(id: &str, title: &str, class: &str, days: &[Day], of: impl Fn(&Day) -> u64) -> Markup {
    let most = days.iter().map(&of).max().unwrap_or(0);
    let sum: u64 = days.iter().map(&of).sum();
    let width = STEP * days.len() as u64;
    let summary = format!("{title}: {} in {} days, at most {} in one", size(sum), days.len(), size(most));
    html! {
        figure.plot {
            figcaption { h2 { (title) } p { (size(sum)) " in " (days.len()) " days" } }
            svg viewBox={ "0 0 " (width) " " (HEIGHT) } role="img" aria-labelledby=(id) preserveAspectRatio="none" {
                title id=(id) { (summary) }
                line.axis x1="0" y1=(HEIGHT) x2=(width) y2=(HEIGHT) {}
                @for (n, day) in days.iter().enumerate() {
                    @let high = height(of(day), most);
                    @if high > 0 {
                        rect class={ "bar " (class) } x=(n as u64 * STEP + 3) y=(HEIGHT - high) width=(STEP - 6) height=(high) {
                            title { (day.date) ": " (size(of(day))) }
                        }
                    }
                }
            }
            p.range {
                @if let (Some(first), Some(last)) = (days.first(), days.last()) {
                    span { (first.date) } span { "highest: " (size(most)) } span { (last.date) }
                }
            }
        }
    }
}

/// In units of the drawing; what is there is seen, however small.
fn height(value: u64, most: u64) -> u64 {
    if value == 0 || most == 0 {
        return 0;
    }
    let scaled = u128::from(value) * u128::from(HEIGHT - 6) / u128::from(most);
    u64::try_from(scaled).unwrap_or(HEIGHT).max(2)
}

/// The days that have something, newest first, in figures.
pub fn table(days: &[Day]) -> Markup {
    html! {
        details.figures {
            summary { "The same as a table" }
            div.wide tabindex="0" role="region" aria-label="Bytes by day" {
                table {
                    thead { tr { th scope="col" { "Day" } th scope="col" { "Written" } th scope="col" { "Stored" } th scope="col" { "Saved" } } }
                    tbody {
                        @for day in days.iter().rev().filter(|d| d.logical > 0) {
                            tr {
                                th scope="row" { (day.date) }
                                td.num { (size(day.logical)) } td.num { (size(day.new)) } td.num { (size(day.saved())) }
                            }
                        }
                    }
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_day_has_its_place() {
        let share = |key: &str, logical_bytes, new_bytes| Share {
            key: Some(key.into()),
            artifacts: 1,
            logical_bytes,
            new_bytes,
        };
        let now = Timestamp::parse_rfc3339("2026-11-23T10:00:00Z").unwrap();
        let all = days(&[share("2026-11-23", 10, 4), share("2026-10-25", 7, 7), share("2026-10-24", 9, 9)], now);
        assert_eq!(all.len(), 30);
        assert_eq!((all[0].date.as_str(), all[0].logical, all[0].saved()), ("2026-10-25", 7, 0));
        assert_eq!((all[29].date.as_str(), all[29].saved()), ("2026-11-23", 6));
        assert_eq!((height(0, 10), height(1, u64::MAX), height(10, 10)), (0, 2, HEIGHT - 6));
        let text = figure("a", "Bytes", "new", &all, |d| d.logical).into_string();
        assert_eq!(text.matches("<rect").count(), 2);
        assert!(!text.contains("style="), "the page's policy lets no style attribute through");
    }
}
