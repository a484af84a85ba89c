//! Values by name: what `%{…}` of a rule's texts stands for.

use super::Transaction;
use crate::template::Template;
use crate::variable::Variable;

impl Transaction {
    /// A text of a rule with its variables filled in.
    pub(super) fn expand<'t>(&self, template: &'t Template) -> std::borrow::Cow<'t, [u8]> {
        template.expand(&|variable, key, out| self.append(variable, key, out))
    }

    /// Appends the value of a variable, if it has one.
    pub(super) fn append(&self, variable: Variable, key: Option<&[u8]>, out: &mut Vec<u8>) {
        match variable {
            Variable::Tx => {
                let Some(key) = key else { return };
                if let Some(value) = self.tx.get(&key.to_ascii_lowercase()) {
                    out.extend_from_slice(value);
                }
            }
            Variable::MatchedVar => out.extend(self.matched_var.iter().flat_map(|(_, value)| value.iter())),
            Variable::MatchedVarName => out.extend(self.matched_var.iter().flat_map(|(name, _)| name.iter())),
            Variable::MatchedVars => {
                out.extend(self.matched_vars.iter().take(1).flat_map(|(_, value)| value.iter()))
            }
            Variable::MatchedVarsNames => {
                out.extend(self.matched_vars.iter().take(1).flat_map(|(name, _)| name.iter()))
            }
            Variable::HighestSeverity => out.extend_from_slice(self.highest().as_bytes()),
            Variable::Rule => out.extend_from_slice(&self.rule_fact(key.unwrap_or_default())),
            _ if variable.is_persistent() => {
                let wanted = key.unwrap_or_default();
                let entries = self.persistent(variable);
                out.extend(
                    entries
                        .into_iter()
                        .find(|(name, _)| name.eq_ignore_ascii_case(wanted))
                        .into_iter()
                        .flat_map(|entry| entry.1),
                );
            }
            _ => {
                if let Some(text) = self.facts.first(variable, key) {
                    out.extend_from_slice(self.texts.bytes(text));
                }
            }
        }
    }

    /// 255 stands for no severity yet.
    pub(super) fn highest(&self) -> String {
        self.highest_severity.map_or_else(|| "255".to_owned(), |severity| severity.to_string())
    }

    /// A fact of the rule that runs.
    pub(super) fn rule_fact(&self, key: &[u8]) -> Vec<u8> {
        let Some(facts) = &self.current else { return Vec::new() };
        match key.to_ascii_lowercase().as_slice() {
            b"id" => facts.id.to_string(),
            b"msg" => facts.message.clone(),
            b"severity" => facts.severity.map_or_else(String::new, |severity| severity.number().to_string()),
            b"rev" | b"ver" => facts.version.clone(),
            _ => String::new(),
        }
        .into_bytes()
    }

    /// Entries of a persistent collection that a rule has opened.
    pub(super) fn persistent(&self, variable: Variable) -> Vec<(Vec<u8>, Vec<u8>)> {
        self.opened
            .get(&variable)
            .map(|key| self.store.entries(variable, key, self.start.now))
            .unwrap_or_default()
    }

    /// Sets the variables of time, in UTC, by the civil calendar.
    pub(super) fn set_time(&mut self) {
        let now = self.start.now;
        let (days, second) = (now / 86_400, now % 86_400);
        let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
        let (year, month, day) = civil(days);
        let all = [
            (Variable::Time, format!("{hour:02}:{minute:02}:{second:02}")),
            (Variable::TimeEpoch, now.to_string()),
            (Variable::TimeHour, hour.to_string()),
            (Variable::TimeMin, minute.to_string()),
            (Variable::TimeSec, second.to_string()),
            (Variable::TimeDay, day.to_string()),
            (Variable::TimeMon, (month - 1).to_string()),
            (Variable::TimeYear, year.to_string()),
            (Variable::TimeWday, ((days + 4) % 7).to_string()),
        ];
        for (variable, value) in all {
            if self.rules.uses(variable) || variable == Variable::TimeEpoch || variable == Variable::Time {
                self.set(variable, value.into_bytes());
            }
        }
    }
}

/// Days since 1970 to year, month from 1 and day: years are counted from March, so that leap days come last.
fn civil(days: u64) -> (u64, u64, u64) {
    let shifted = days + 719_468;
    let (era, of_era) = (shifted / 146_097, shifted % 146_097);
    let year_of_era = (of_era - of_era / 1460 + of_era / 36_524 - of_era / 146_096) / 365;
    let of_year = of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let from_march = (5 * of_year + 2) / 153;
    let day = of_year - (153 * from_march + 2) / 5 + 1;
    let month = if from_march < 10 { from_march + 3 } else { from_march - 9 };
    (year_of_era + era * 400 + u64::from(month <= 2), month, day)
}

#[cfg(test)]
mod tests {
    use super::civil;

    #[test]
    fn days_become_dates() {
        for (days, expected) in [(0, (1970, 1, 1)), (11_016, (2000, 2, 29)), (20_783, (2026, 11, 26))] {
            assert_eq!(civil(days), expected, "{days}");
        }
    }
}
