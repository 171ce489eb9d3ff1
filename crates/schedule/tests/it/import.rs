//! What was written for Netflix's Chaos Monkey.

use squall_model::{Percent, Weekday};
use squall_schedule::import::{Import, Imported};
use squall_schedule::{Candidate, Frequency, Planner};

fn import(texts: &[&str]) -> Result<Imported, Vec<String>> {
    let shown = |found: squall_model::Diagnostics| {
        found.iter().map(|d| format!("{}:{} {}: {}", d.line, d.column, d.path, d.message)).collect::<Vec<_>>()
    };
    let mut import = Import::new("prod");
    for text in texts {
        import.read(text).map_err(shown)?;
    }
    import.finish().map_err(shown)
}

fn warnings(imported: &Imported) -> Vec<String> {
    imported.warnings.iter().map(|d| format!("{}:{} {}: {}", d.line, d.column, d.path, d.message)).collect()
}

const TOML: &str = r#"# from the documentation
[chaosmonkey]
enabled = true
schedule_enabled = true
leashed = false
accounts = ["production", "test"]
start_hour = 10
end_hour = 16
time_zone = "Europe/Vienna"
term_path = "/apps/chaosmonkey/chaosmonkey-terminate.sh"
trackers = []
acounts = ["typo"]

[database]
host = "dbhost.example.com"

[spinnaker]
endpoint = "http://spinnaker.example.com:8084"
"#;

const APP: &str = r#"{
  "name": "abc",
  "attributes": {
    "chaosMonkey": {
      "enabled": true,
      "meanTimeBetweenKillsInWorkDays": 5,
      "minTimeBetweenKillsInWorkDays": 3,
      "grouping": "stack",
      "regionsAreIndependent": true,
      "exceptions": [
        { "account": "test", "stack": "*", "region": "*", "detail": "*" },
        { "account": "prod", "stack": "staging", "region": "us-west-2", "detail": "" }
      ]
    }
  }
}"#;

#[test]
fn chaosmonkey_toml_becomes_a_monkey_and_what_has_no_equivalent_is_named() {
    let imported = import(&[TOML]).expect("good");
    let spec = &imported.monkey.spec;
    assert!(spec.enabled && spec.leashed);
    assert_eq!((spec.hours.from.as_str(), spec.hours.to.as_str(), spec.time_zone.as_deref()), ("10:00", "16:00", Some("Europe/Vienna")));
    assert_eq!(spec.opt_in.len(), 2);
    assert_eq!(spec.opt_in[1]["account"], "test");
    assert_eq!(spec.frequency, Frequency { mean: Some(2.0), probability: None, minimum: 1 });
    assert_eq!(
        warnings(&imported)[..4],
        [
            "14:2 database: `database` has no equivalent",
            "17:2 spinnaker: `spinnaker` has no equivalent",
            "10:1 chaosmonkey.term_path: `term_path` has no equivalent",
            "12:1 chaosmonkey.acounts: unknown key `acounts`",
        ]
    );
    assert_eq!(imported.warnings[3].hint.as_deref(), Some("did you mean `accounts`? it was left out"));
    assert!(warnings(&imported).iter().any(|w| w.contains("off the leash")), "it says that the leash stays on");
}

#[test]
fn an_application_becomes_a_group_with_its_exceptions() {
    let imported = import(&[TOML, APP]).expect("good");
    let spec = &imported.monkey.spec;
    assert_eq!(spec.groups.len(), 1);
    let group = &spec.groups[0];
    assert_eq!((group.name.as_str(), group.by.join(" ")), ("abc", "app account stack region".into()));
    assert_eq!(group.frequency, Some(Frequency { mean: Some(5.0), probability: None, minimum: 3 }));
    assert_eq!(group.faults[0].fault, "process.kill");
    assert_eq!(spec.exceptions.len(), 2);
    let host = |id: &str, account: &str, region: &str, stack: &str| {
        let pairs = [("app", "abc"), ("account", account), ("region", region), ("stack", stack)];
        Candidate { id: id.into(), labels: pairs.into_iter().map(|(key, value)| (key.into(), value.into())).collect() }
    };
    let fleet = [
        host("a", "production", "us-west-2", "main"),
        host("b", "test", "us-west-2", "main"),
        host("c", "production", "us-east-1", "main"),
    ];
    let planner = Planner::new(&imported.monkey).expect("good");
    let groups: Vec<String> = planner.groups(&fleet).into_iter().map(|group| format!("{} {}", group.key, group.members[0].id)).collect();
    assert_eq!(
        groups,
        ["abc/app=abc,account=production,stack=main,region=us-east-1 c", "abc/app=abc,account=production,stack=main,region=us-west-2 a"]
    );
}

#[test]
fn defaults_are_those_of_chaos_monkey() {
    let imported = import(&["[chaosmonkey]\naccounts = [\"prod\"]\n"]).expect("good");
    let spec = &imported.monkey.spec;
    assert!(!spec.enabled && spec.leashed);
    assert_eq!(
        (spec.hours.from.as_str(), spec.hours.to.as_str(), spec.time_zone.as_deref()),
        ("09:00", "15:00", Some("America/Los_Angeles"))
    );
    let none = import(&["[chaosmonkey]\nenabled = true\nschedule_enabled = true\n"]).expect("good");
    assert!(!none.monkey.spec.enabled, "without an account it would touch nothing");
}

#[test]
fn what_cannot_be_is_refused_with_its_place() {
    let error = |text: &str| import(&[text]).expect_err("refused");
    assert_eq!(
        error("[chaosmonkey]\nstart_hour = 15\nend_hour = 9\n"),
        ["3:1 chaosmonkey.end_hour: `end_hour` is 9, and has to be after `start_hour`, which is 15"]
    );
    assert_eq!(error("[chaosmonkey]\nenabled = 1\n"), ["2:1 chaosmonkey.enabled: `enabled` has to be true or false, not 1"]);
    assert_eq!(error("[chaosmonkey]\ntime_zone = \"Mars/Base\"\n"), ["2:1 chaosmonkey.time_zone: `Mars/Base` is not a time zone"]);
    assert!(error("[chaosmonkey]\nenabled = \n")[0].starts_with("2:"), "not TOML");
    assert_eq!(error(r#"{ "enabled": true, "grouping": "zone" }"#), ["1:20 grouping: `zone` is not a grouping"]);
}

#[test]
fn a_mean_below_the_minimum_is_raised_and_said() {
    let imported =
        import(&[r#"{ "enabled": true, "grouping": "app", "meanTimeBetweenKillsInWorkDays": 2, "minTimeBetweenKillsInWorkDays": 4 }"#])
            .expect("good");
    assert_eq!(imported.monkey.spec.groups[0].frequency, Some(Frequency { mean: Some(4.0), probability: None, minimum: 4 }));
    assert!(warnings(&imported)[0].contains("cannot be met"), "{:?}", warnings(&imported));
}

const CONFIG_MAP: &str = r#"apiVersion: v1
kind: ConfigMap
metadata:
  name: monkeys
data:
  config.yaml: |
    chaosmonkey:
      enabled: true
      schedule:
        type: "cron"
        path: "0 0 9-17 * * MON-FRI"
      accounts:
        - name: production
          region: us-east-1
          stack: "*"
          detail: "*"
          owner: platform@example.com
      spinnaker:
        enabled: false
      kill:
        enabled: true
        probability: 0.1
        meanTimeBetweenKillsInWorkDays: 2
        maximum: 3
"#;

#[test]
fn a_config_map_becomes_a_monkey_with_places_in_the_outer_text() {
    let imported = import(&[CONFIG_MAP]).expect("good");
    let spec = &imported.monkey.spec;
    assert!(spec.enabled && spec.leashed);
    assert_eq!((spec.hours.from.as_str(), spec.hours.to.as_str(), spec.time_zone.as_deref()), ("09:00", "17:00", None));
    assert_eq!(spec.work_days, [Weekday::Mon, Weekday::Tue, Weekday::Wed, Weekday::Thu, Weekday::Fri]);
    assert_eq!(spec.frequency, Frequency { mean: Some(2.0), probability: None, minimum: 1 });
    assert_eq!(spec.opt_in.len(), 1);
    assert_eq!(spec.opt_in[0].iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>(), ["account=production", "region=us-east-1"]);
    assert_eq!(imported.monkey.metadata.annotations["owner"], "platform@example.com");
    let found = warnings(&imported);
    let has = |text: &str| assert!(found.iter().any(|warning| warning.contains(text)), "{text}: {found:#?}");
    has("24:5 data.config.yaml.chaosmonkey.kill.maximum: unknown key `maximum`");
    has("22:5 data.config.yaml.chaosmonkey.kill.probability: `probability` and a mean say the same thing twice");
    has("17:7 data.config.yaml.chaosmonkey.accounts[0].owner: an account has no owner here");
    has("chaosmonkey.schedule.path: `0 0 9-17 * * MON-FRI` was read as hours and work days");
    let chance = import(&[&CONFIG_MAP.replace("        meanTimeBetweenKillsInWorkDays: 2\n", "")]).expect("good");
    assert_eq!(chance.monkey.spec.frequency, Frequency { mean: None, probability: Some(Percent(10.0)), minimum: 1 });
}

#[test]
fn a_config_map_may_hold_the_toml() {
    let indented: String = TOML.lines().map(|line| format!("    {line}\n")).collect();
    let text = format!("apiVersion: v1\nkind: ConfigMap\nmetadata: {{ name: x }}\ndata:\n  chaosmonkey.toml: |\n{indented}");
    let imported = import(&[&text]).expect("good");
    assert_eq!(imported.monkey.spec.hours.from, "10:00");
    assert!(
        warnings(&imported).contains(&"17:1 data.chaosmonkey.toml.chaosmonkey.acounts: unknown key `acounts`".to_owned()),
        "{:#?}",
        warnings(&imported)
    );
}
