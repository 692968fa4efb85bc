//! The table: rows in the order in which they were looked at, in columns, or as JSON.

use std::fmt::Write as _;

use serde::Serialize;

/// A cell of the third column, from good to bad.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Verdict {
    Ok,
    /// It runs, and something is worth a change.
    Warn,
    /// It does not run, or not with all that is configured.
    Fail,
}

/// One thing that was looked at.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Row {
    /// What was looked at: an endpoint by its host, a dex, the store.
    pub place: String,
    pub check: String,
    pub verdict: Verdict,
    /// What is so; where it is not `ok`, also what to do.
    pub detail: String,
}

impl Row {
    fn new(place: impl Into<String>, check: impl Into<String>, verdict: Verdict, detail: impl Into<String>) -> Self {
        // One row is one line, whatever a provider says.
        let detail = detail.into().split_whitespace().collect::<Vec<_>>().join(" ");
        Self { place: place.into(), check: check.into(), verdict, detail: shortened(detail) }
    }

    pub(super) fn ok(place: impl Into<String>, check: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(place, check, Verdict::Ok, detail)
    }

    pub(super) fn warn(place: impl Into<String>, check: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(place, check, Verdict::Warn, detail)
    }

    pub(super) fn fail(place: impl Into<String>, check: impl Into<String>, detail: impl Into<String>) -> Self {
        Self::new(place, check, Verdict::Fail, detail)
    }
}

/// Characters of a detail: some providers answer with a page.
const DETAIL_MAX: usize = 400;

fn shortened(text: String) -> String {
    if text.chars().count() <= DETAIL_MAX {
        return text;
    }
    text.chars().take(DETAIL_MAX).chain(['…']).collect()
}

/// Everything that was looked at.
#[derive(Debug, Clone, Default, Serialize)]
pub struct Report {
    pub rows: Vec<Row>,
}

impl Report {
    pub(super) fn add(&mut self, row: Row) {
        self.rows.push(row);
    }

    #[must_use]
    pub fn count(&self, verdict: Verdict) -> usize {
        self.rows.iter().filter(|row| row.verdict == verdict).count()
    }

    /// `{"rows": […], "warnings": n, "failures": n}`.
    #[must_use]
    pub fn json(&self) -> serde_json::Value {
        serde_json::json!({ "rows": self.rows, "warnings": self.count(Verdict::Warn), "failures": self.count(Verdict::Fail) })
    }

    /// Four columns and a line below. `is_colored` where a terminal shows it.
    #[must_use]
    pub fn table(&self, is_colored: bool) -> String {
        let width = |cell: fn(&Row) -> &String| self.rows.iter().map(|row| cell(row).chars().count()).max().unwrap_or(0);
        let (places, checks) = (width(|row| &row.place), width(|row| &row.check));
        let mut text = String::new();
        let mut above = "";
        for row in &self.rows {
            // The name stands once; a column of the same words hides what differs.
            let place = if row.place == above { "" } else { &row.place };
            above = &row.place;
            let (word, color) = match row.verdict {
                Verdict::Ok => ("ok  ", "32"),
                Verdict::Warn => ("warn", "33"),
                Verdict::Fail => ("FAIL", "31;1"),
            };
            let word = if is_colored { format!("\x1b[{color}m{word}\x1b[0m") } else { word.to_owned() };
            // Writing to a String cannot fail.
            let _ =
                writeln!(text, "{place:<places$}  {check:<checks$}  {word}  {detail}", check = row.check, detail = row.detail);
        }
        let (failures, warnings) = (self.count(Verdict::Fail), self.count(Verdict::Warn));
        let verdict = match (failures, warnings) {
            (0, 0) => "Nothing is wrong: `swaptide run`.".to_owned(),
            (0, warnings) => format!("It runs; {}.", counted(warnings, "warning")),
            (failures, warnings) => format!("{}, {}.", counted(failures, "failure"), counted(warnings, "warning")),
        };
        let _ = writeln!(text, "\n{verdict}");
        text
    }
}

/// "1 log", "2 logs".
pub(super) fn counted(count: usize, what: &str) -> String {
    format!("{count} {what}{}", if count == 1 { "" } else { "s" })
}

#[cfg(test)]
mod tests {
    use super::{DETAIL_MAX, Report, Row, Verdict};

    #[test]
    fn columns_stand_under_each_other_and_a_name_stands_once() {
        let mut report = Report::default();
        report.add(Row::ok("a", "reachable", "3 ms"));
        report.add(Row::warn("a", "head", "slow:\n  wait"));
        report.add(Row::fail("store SQLite", "file", "gone"));
        let expected = "\
a             reachable  ok    3 ms
              head       warn  slow: wait
store SQLite  file       FAIL  gone

1 failure, 1 warning.
";
        assert_eq!(report.table(false), expected);
        assert!(report.table(true).contains("\x1b[31;1mFAIL\x1b[0m"));
        assert_eq!(report.json()["failures"], 1);
        assert_eq!(report.json()["rows"][1]["verdict"], "warn");
    }

    #[test]
    fn a_page_of_an_answer_is_cut() {
        let row = Row::ok("a", "b", "x".repeat(DETAIL_MAX * 2));
        assert_eq!((row.detail.chars().count(), row.verdict), (DETAIL_MAX + 1, Verdict::Ok));
    }
}
