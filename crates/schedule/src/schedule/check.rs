//! What can be wrong with a schedule.

use squall_model::{Path, Problem, Time};

use super::{Concurrency, MissedPolicy, Schedule, Timetable};
use crate::document::{check_head, is_name, problem};

/// A month: longer jitter and deadlines than this are taken for mistakes of the unit.
pub(super) const LONGEST: Time = Time::from_secs(31 * 24 * 3600);

impl Schedule {
    /// Everything that is wrong with it; nothing if it is good.
    pub fn check(&self) -> Vec<Problem> {
        let mut found = check_head(&self.api_version, &self.kind, &self.metadata, "Schedule");
        let path = Path::default().key("spec");
        let spec = &self.spec;
        if !is_name(&spec.experiment) {
            let message = format!("`{}` is not the name of an experiment", spec.experiment);
            found.push(problem(&path.key("experiment"), message, "write the `metadata.name` of one that the server has"));
        }
        match Timetable::new(self) {
            Ok(timetable) if timetable.next(jiff::Timestamp::UNIX_EPOCH).is_none() => {
                let (message, hint) = if spec.starts.is_some() || spec.ends.is_some() {
                    (format!("`{}` never comes between the schedule's first and last day", spec.cron), "check `starts` and `ends`")
                } else {
                    (format!("`{}` never comes", spec.cron), "check the day of the month against the month")
                };
                found.push(problem(&path.key("cron"), message, hint));
            }
            Ok(_) => {}
            Err(error) => found.push(error),
        }
        let missed = path.key("missed");
        let times = [
            (path.key("jitter"), spec.jitter.unwrap_or_default()),
            (missed.key("after"), spec.missed.after),
            (missed.key("deadline"), spec.missed.deadline),
        ];
        for (path, _) in times.into_iter().filter(|(_, time)| *time > LONGEST) {
            found.push(problem(&path, "this is longer than 31 days", "check the unit: `s`, `m` (minutes), `h`, `d`"));
        }
        if spec.missed.after < Time::from_secs(10) {
            let hint = "write `10s` or more: servers look every few seconds";
            found.push(problem(&missed.key("after"), "times would count as missed before anybody could look", hint));
        }
        if spec.missed.policy != MissedPolicy::Skip && spec.missed.deadline < spec.missed.after {
            let message = "no missed time could be made up for: the deadline is over before a time counts as missed";
            found.push(problem(&missed.key("deadline"), message, format!("write more than `after`, which is {}", spec.missed.after)));
        }
        if spec.missed.policy == MissedPolicy::All {
            if spec.concurrency != Concurrency::Allow {
                let message = "missed times can only all be made up for where runs may go on at the same time";
                found.push(problem(&missed.key("policy"), message, "write `once`, or `concurrency: allow`"));
            }
            if !(1..=100).contains(&spec.missed.up_to) {
                let message = format!("{} missed times cannot be made up for at once", spec.missed.up_to);
                found.push(problem(&missed.key("upTo"), message, "write a number from 1 to 100"));
            }
        }
        found
    }
}

#[cfg(test)]
mod tests {
    use crate::parse_schedule;

    fn errors(spec: &str) -> Vec<String> {
        let text =
            format!("apiVersion: squall.dev/v1\nkind: Schedule\nmetadata: {{ name: nightly }}\nspec: {{ experiment: kill, {spec} }}\n");
        match parse_schedule(&text) {
            Ok(_) => Vec::new(),
            Err(found) => found.iter().map(|d| format!("{}: {}", d.path, d.message)).collect(),
        }
    }

    #[test]
    fn a_schedule_that_cannot_be_is_refused_with_its_place() {
        assert_eq!(errors("cron: 0 2 * * *"), Vec::<String>::new());
        assert_eq!(errors("cron: 0 0 30 2 *"), ["spec.cron: `0 0 30 2 *` never comes"]);
        assert_eq!(errors("cron: '@daily', timeZone: Mars/Base"), ["spec.timeZone: `Mars/Base` is not a time zone"]);
        assert_eq!(
            errors("cron: 0 0 1 1 *, starts: 2026-02-01, ends: 2026-11-30"),
            ["spec.cron: `0 0 1 1 *` never comes between the schedule's first and last day"]
        );
        assert_eq!(
            errors("cron: '@daily', windows: [{ from: '09:00', to: '09:00' }]"),
            ["spec.windows[0].to: the window starts and ends at 09:00"]
        );
        assert_eq!(
            errors("cron: '@daily', holidays: [{ date: 05-01 }, { date: 99-01 }]"),
            ["spec.holidays[1].date: `99-01` is not a day of the year"]
        );
        assert_eq!(
            errors("cron: '@daily', missed: { policy: all }"),
            ["spec.missed.policy: missed times can only all be made up for where runs may go on at the same time"]
        );
        assert_eq!(errors("cron: '@daily', jitter: 90d"), ["spec.jitter: this is longer than 31 days"]);
        assert_eq!(errors("cron: '@daily', when: now").len(), 1, "an unknown field");
        assert_eq!(errors("cron: '@daily', ends: 2026-13-01"), ["spec.ends: `2026-13-01` is not a date"]);
    }
}
