//! Findings by words, the best first.
//!
//! Every word of the query must be the start of a word of the finding; words in quotes must follow on each other as they stand.
//! A word counts by where it stands: title 8, tags, service and experiment 5, analysis 3, everything else 1; a whole word counts
//! double. Equal ones stand in order of their last change of state, the newest first.

use jiff::civil::Date;

use crate::{Finding, FindingState, Priority};

/// What is looked for. Every part that is set must match.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Query {
    /// Words.
    pub words: String,
    /// In one of these states. Empty: any.
    pub states: Vec<FindingState>,
    /// With all of these tags.
    pub tags: Vec<String>,
    /// About this service.
    pub service: Option<String>,
    /// Of this experiment.
    pub experiment: Option<String>,
    /// With something to be done by them.
    pub owner: Option<String>,
    /// With something to be done of this priority.
    pub priority: Option<Priority>,
    /// With something that should have been done by this day.
    pub overdue_on: Option<Date>,
}

/// The ids of the findings that match, the best first.
pub fn search<'a>(findings: impl IntoIterator<Item = (&'a str, &'a Finding)>, query: &Query) -> Vec<&'a str> {
    let terms = terms(&query.words);
    let mut found: Vec<(u32, &Finding, &str)> = findings
        .into_iter()
        .filter(|(_, finding)| query.passes(finding))
        .filter_map(|(id, finding)| score(finding, &terms).map(|score| (score, finding, id)))
        .collect();
    found.sort_by(|(a, x, i), (b, y, j)| b.cmp(a).then(y.since.cmp(&x.since)).then(i.cmp(j)));
    found.into_iter().map(|(_, _, id)| id).collect()
}

impl Query {
    fn passes(&self, finding: &Finding) -> bool {
        let open = || finding.actions.iter().filter(|action| !action.what.closed());
        (self.states.is_empty() || self.states.contains(&finding.state))
            && self.tags.iter().all(|tag| finding.tags.contains(tag))
            && self.service.as_ref().is_none_or(|service| finding.service.as_ref() == Some(service))
            && self.experiment.as_ref().is_none_or(|experiment| finding.experiment == *experiment)
            && self.owner.as_ref().is_none_or(|owner| open().any(|action| action.what.owner.as_ref() == Some(owner)))
            && self.priority.is_none_or(|priority| open().any(|action| action.what.priority == priority))
            && self.overdue_on.is_none_or(|day| finding.overdue(day))
    }
}

/// One word, or several that follow on each other.
type Term = Vec<String>;

fn terms(text: &str) -> Vec<Term> {
    let quoted = text.split('"').enumerate().flat_map(|(index, part)| {
        if index % 2 == 1 { vec![words(part)] } else { words(part).into_iter().map(|word| vec![word]).collect() }
    });
    quoted.filter(|term| !term.is_empty()).collect()
}

/// Lower-case runs of letters and digits.
fn words(text: &str) -> Vec<String> {
    text.split(|c: char| !c.is_alphanumeric()).filter(|word| !word.is_empty()).map(str::to_lowercase).collect()
}

fn score(finding: &Finding, terms: &[Term]) -> Option<u32> {
    if terms.is_empty() {
        return Some(0);
    }
    let mut fields: Vec<(u32, Vec<String>)> = vec![(8, words(&finding.title)), (5, words(&finding.experiment)), (1, words(&finding.notes))];
    fields.extend(finding.service.iter().map(|service| (5, words(service))));
    fields.extend(finding.tags.iter().map(|tag| (5, words(tag))));
    for analysis in &finding.analysis {
        let parts = [&analysis.metric, &analysis.expected, &analysis.actual].into_iter().chain(&analysis.likely_cause);
        fields.extend(parts.map(|part| (3, words(part))));
    }
    for action in &finding.actions {
        fields.extend([(1, words(&action.what.text))]);
        fields.extend(action.what.owner.iter().map(|owner| (1, words(owner))));
    }
    fields.extend(finding.runs.iter().map(|run| (1, words(&run.run))));
    fields.extend(finding.history.iter().filter_map(|change| change.reason.as_ref()).map(|reason| (1, words(reason))));
    terms.iter().map(|term| best(&fields, term)).sum()
}

/// The best place of a term, if it is there.
fn best(fields: &[(u32, Vec<String>)], term: &[String]) -> Option<u32> {
    let of = |(weight, words): &(u32, Vec<String>)| match term {
        [word] => words.iter().filter(|other| other.starts_with(word)).map(|other| if other == word { weight * 2 } else { *weight }).max(),
        phrase => words.windows(phrase.len()).any(|window| window == phrase).then_some(weight * 2),
    };
    fields.iter().filter_map(of).max()
}
