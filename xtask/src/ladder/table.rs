//! What came of the rungs: one table, what was missing and how to get it, and the sum of all tests as the last line.
//!
//! Whether a row is good enough is decided here, too; nothing is run.

use std::{collections::BTreeMap, fmt::Write as _, time::Duration};

use super::rungs::{Need, Rung, VARIABLES};
use crate::process::Counts;

/// The table says so when a rung takes more than this many times its budget. It fails nothing: machines are shared.
const SLACK: u64 = 2;

/// How a rung ended.
pub(super) enum Verdict {
    Passed,
    Failed(String),
    Lacks(Vec<&'static Need>),
    /// Because the command line asked for it.
    LeftOut,
}

/// A line of the table.
pub(super) struct Row {
    pub(super) rung: &'static Rung,
    pub(super) verdict: Verdict,
    pub(super) counts: Counts,
    /// How many tests were left out, by reason.
    pub(super) left_out: BTreeMap<String, u64>,
    pub(super) took: Duration,
}

/// What a run asks of its rungs beyond that none fails.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Demand {
    /// Nothing is left out.
    pub(super) strict: bool,
    /// What tests may lack even so: parts of the reasons that they give.
    pub(super) may_lack: Vec<String>,
}

impl Row {
    pub(super) fn new(rung: &'static Rung, verdict: Verdict) -> Row {
        Row { rung, verdict, counts: Counts::default(), left_out: BTreeMap::new(), took: Duration::ZERO }
    }

    /// Why this row fails the run, if it does.
    pub(super) fn fault(&self, demand: &Demand) -> Option<String> {
        let allowed = |reason: &String| demand.may_lack.iter().any(|lack| reason.contains(lack.as_str()));
        match &self.verdict {
            Verdict::Failed(why) => Some(format!("failed: {why}")),
            Verdict::Lacks(_) if demand.strict => Some("was left out".to_owned()),
            Verdict::Passed if demand.strict && !self.left_out.keys().all(allowed) => {
                Some("left tests out".to_owned())
            }
            _ => None,
        }
    }

    fn over_budget(&self) -> bool {
        self.took > Duration::from_secs(self.rung.budget * SLACK)
    }

    fn line(&self) -> String {
        let outcome = match &self.verdict {
            Verdict::Passed if self.over_budget() => "passed, over budget".to_owned(),
            Verdict::Passed if !self.left_out.is_empty() => {
                format!("passed, {} left out", self.left_out.values().sum::<u64>())
            }
            Verdict::Passed => "passed".to_owned(),
            Verdict::Failed(_) => "FAILED".to_owned(),
            Verdict::Lacks(_) => "left out".to_owned(),
            Verdict::LeftOut => "left out on request".to_owned(),
        };
        let ran = matches!(self.verdict, Verdict::Passed | Verdict::Failed(_));
        let tests = if self.counts.total() > 0 { self.counts.total().to_string() } else { "-".to_owned() };
        let time = if ran { seconds(self.took) } else { "-".to_owned() };
        let budget = seconds(Duration::from_secs(self.rung.budget));
        format!("{:<10}{outcome:<22}{tests:>7}{time:>10}{budget:>10}\n", self.rung.name)
    }
}

/// The whole report.
pub(super) fn report(rows: &[Row], demand: &Demand) -> String {
    let mut text = format!("{:<10}{:<22}{:>7}{:>10}{:>10}\n", "rung", "outcome", "tests", "time", "budget");
    let mut sum = Counts::default();
    let mut missing = String::new();
    for row in rows {
        sum.add(row.counts);
        text.push_str(&row.line());
        let name = row.rung.name;
        if let Verdict::Lacks(needs) = &row.verdict {
            for Need { what, remedy, .. } in needs {
                let _ = writeln!(missing, "{name} was left out: it needs {what}; get it with: {remedy}");
            }
        }
        for (reason, count) in &row.left_out {
            let remedy = VARIABLES.iter().find(|(variable, _)| reason.contains(variable));
            let remedy = remedy.map(|(_, remedy)| format!("; get it with: {remedy}")).unwrap_or_default();
            let _ = writeln!(missing, "{count} tests of {name} were left out: {reason}{remedy}");
        }
    }
    let took = seconds(rows.iter().map(|row| row.took).sum());
    let budget = seconds(Duration::from_secs(rows.iter().map(|row| row.rung.budget).sum()));
    let _ = writeln!(text, "{:<32}{:>7}{took:>10}{budget:>10}\n", "all", sum.total());
    text.push_str(&missing);
    for row in rows {
        if let Some(fault) = row.fault(demand) {
            let _ = writeln!(text, "{} {fault}", row.rung.name);
        }
    }
    let _ = writeln!(text, "{} passed, {} failed, {} skipped", sum.passed, sum.failed, sum.skipped);
    text
}

pub(super) fn seconds(time: Duration) -> String {
    format!("{:.1} s", time.as_secs_f64())
}

#[cfg(test)]
mod tests {
    use super::*;

    const ABSENT: Need = Need { what: "a thing", present: || false, remedy: "apt-get install thing" };
    static RUNG: Rung = Rung { name: "one", about: "a rung", budget: 10, needs: &[ABSENT], run: |_| Ok(()) };

    fn row(verdict: Verdict, took: u64, passed: u64, failed: u64) -> Row {
        let counts = Counts { passed, failed, skipped: 0 };
        Row { counts, took: Duration::from_secs(took), ..Row::new(&RUNG, verdict) }
    }

    fn strict(may_lack: &[&str]) -> Demand {
        Demand { strict: true, may_lack: may_lack.iter().map(|lack| (*lack).to_owned()).collect() }
    }

    #[test]
    fn only_a_strict_run_minds_what_is_missing_and_none_minds_what_is_slow() {
        let mut partial = row(Verdict::Passed, 1, 1, 0);
        partial.left_out.insert("X is not set".to_owned(), 2);
        let cases = [
            (row(Verdict::Passed, 20, 1, 0), true, true),
            (row(Verdict::Passed, 21, 1, 0), true, true),
            (row(Verdict::Lacks(vec![&ABSENT]), 0, 0, 0), true, false),
            (row(Verdict::LeftOut, 0, 0, 0), true, true),
            (row(Verdict::Failed(String::new()), 1, 0, 1), false, false),
            (partial, true, false),
        ];
        for (i, (row, relaxed, wanted)) in cases.iter().enumerate() {
            let seen = (row.fault(&Demand::default()).is_none(), row.fault(&strict(&[])).is_none());
            assert_eq!(seen, (*relaxed, *wanted), "case {i}");
        }
        assert!(cases[1].0.line().contains("over budget") && !cases[0].0.line().contains("over budget"));
        assert!(cases[5].0.fault(&strict(&["X"])).is_none());
        assert!(cases[5].0.fault(&strict(&["Y"])).is_some());
    }

    #[test]
    fn the_last_line_is_the_sum_and_what_is_missing_is_named() {
        let mut partial = row(Verdict::Passed, 1, 7, 0);
        partial.counts.skipped = 1;
        partial.left_out.insert("X is not set".to_owned(), 1);
        partial.left_out.insert("FOREBAY_SMOLLM2 is not set".to_owned(), 3);
        let rows = [
            partial,
            row(Verdict::Failed("2 tests failed".to_owned()), 1, 3, 2),
            row(Verdict::Lacks(vec![&ABSENT]), 0, 0, 0),
        ];
        let text = report(&rows, &strict(&[]));
        assert_eq!(text.lines().last(), Some("10 passed, 2 failed, 1 skipped"));
        for wanted in [
            "it needs a thing; get it with: apt-get install thing",
            "one failed: 2 tests failed",
            "1 tests of one were left out: X is not set\n",
            "3 tests of one were left out: FOREBAY_SMOLLM2 is not set; get it with: export FOREBAY_SMOLLM2=$(.ci/smollm2)",
            "one left tests out",
        ] {
            assert!(text.contains(wanted), "{wanted}: {text}");
        }
    }
}
