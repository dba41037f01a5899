//! `explain`: what would become of a call, without making it.

use std::process::ExitCode;
use std::sync::Arc;

use serde::Serialize;

use super::{BAD, Explain, GOOD, complain, print};
use crate::body::{Facts, Reach};
use crate::budget::Budgets;
use crate::config::{self, Region};
use crate::operation::{self, Audience, BodyRule, OPERATIONS, OperationId, Path};
use crate::outbound::beijing_path;
use crate::refusal::{Place, Refusal};
use crate::tenant::{Directory, Grant, Wishes};

pub(super) fn run(arguments: &Explain) -> ExitCode {
    let config = match config::load(&arguments.file.config) {
        Ok(config) => config,
        Err(faults) => return complain(&faults),
    };
    let directory = Arc::new(Directory::new(&config, &Budgets::default()));
    match decide(&directory, arguments) {
        Ok(forwarded) => {
            print(&forwarded.render(arguments.json));
            GOOD
        }
        Err(refused) => {
            print(&refused.render(arguments.json));
            ExitCode::from(BAD)
        }
    }
}

/// A call that would be forwarded.
#[derive(Serialize)]
struct Forwarded {
    operation: &'static str,
    caller: String,
    tenant: String,
    credential: &'static str,
    key: String,
    scope: &'static str,
    budgets: Vec<Draws>,
    quota: Option<String>,
    body_rule: &'static str,
    vendor_url: String,
}

#[derive(Serialize)]
struct Draws {
    name: &'static str,
    limit: u32,
    window: String,
    /// What in the body makes the call draw on it; nothing for the operation's own.
    when: Option<&'static str>,
}

/// A call that would be refused.
#[derive(Serialize)]
#[expect(clippy::struct_field_names, reason = "the names are keys of the JSON")]
struct Refused {
    refused: bool,
    status: u16,
    reason: &'static str,
    code: u32,
    message: String,
}

impl Refused {
    fn of(refusal: &Refusal, place: Place) -> Self {
        let (status, code) = refusal.outcome(place);
        let (reason, message) = (refusal.reason(), refusal.to_string());
        Self { refused: true, status: status.as_u16(), reason, code, message }
    }

    fn render(&self, json: bool) -> String {
        if json {
            return to_json(self);
        }
        let Self { status, reason, code, message, .. } = self;
        format!("refused:    {status} {reason}, code {code}\nmessage:    {message}\n")
    }
}

fn decide(directory: &Arc<Directory>, arguments: &Explain) -> Result<Forwarded, Refused> {
    let raw = arguments.path.split_once('?').map_or(arguments.path.as_str(), |(path, _)| path);
    let unknown = Place::of_path(raw);
    let refused = |refusal: Refusal, place| Refused::of(&refusal, place);
    let principal =
        directory.principal_named(&arguments.caller, arguments.tenant.as_deref()).ok_or_else(|| {
            let message = format!("no caller is called {:?} in this configuration", arguments.caller);
            Refused { refused: true, status: 401, reason: "unauthenticated", code: 1004, message }
        })?;
    let path = Path::parse(raw).map_err(|bad| refused(bad.into(), unknown))?;
    let matched = operation::find(&arguments.method, &path).map_err(|none| refused(none.into(), unknown))?;
    let grant = directory
        .authorize(principal, matched.operation, Wishes::default())
        .map_err(|denied| refused(denied.into(), Place::Known(matched.operation)))?;
    Ok(forwarded(directory, &grant, &path))
}

fn forwarded(directory: &Directory, grant: &Grant, path: &Path<'_>) -> Forwarded {
    let operation = &OPERATIONS[grant.operation().index()];
    let path = match grant.tenant().region {
        Region::Default => path.as_str().into(),
        Region::Beijing => beijing_path(operation.host, path.as_str()),
    };
    let quota = grant.caller().quota().map(|quota| {
        let limit = quota.limit();
        format!("{} in {}", limit.limit, humantime::format_duration(limit.window))
    });
    Forwarded {
        operation: operation.name,
        caller: grant.caller().name.clone(),
        tenant: grant.tenant().name.clone(),
        credential: grant.credential_kind().as_str(),
        key: grant.credential().key.as_str().to_owned(),
        scope: operation.scope.as_str(),
        budgets: draws(grant),
        quota,
        body_rule: operation.body.as_str(),
        vendor_url: format!("{}{path}", directory.origins[grant.origin().0].origin()),
    }
}

/// The operation's own budget, and those that a body can add.
fn draws(grant: &Grant) -> Vec<Draws> {
    let plain = Facts { reach: Reach::Named, ..Facts::default() };
    let facts = [
        (None, plain),
        (Some("the push goes to a target list"), Facts { audience_file: true, ..plain }),
        (Some("\"audience\":\"all\""), Facts { reach: Reach::Everybody, ..plain }),
        (Some("a big OPPO picture"), Facts { oppo_big: true, ..plain }),
        (Some("an OPPO icon"), Facts { oppo_icon: true, ..plain }),
    ];
    let mut draws: Vec<Draws> = Vec::new();
    for (when, facts) in facts.into_iter().filter(|(_, facts)| can_say(grant.operation(), *facts)) {
        for budget in grant.draw(&facts).iter() {
            let standing = budget.standing(crate::budget::Moment::default());
            if draws.iter().all(|known| known.name != standing.name.as_str()) {
                let window = humantime::format_duration(standing.window).to_string();
                draws.push(Draws { name: standing.name.as_str(), limit: standing.limit, window, when });
            }
        }
    }
    draws
}

/// Whether a body of this operation can say such things.
fn can_say(operation: OperationId, facts: Facts) -> bool {
    let pictures =
        matches!(operation.body, BodyRule::ImageUrls | BodyRule::ImageFiles | BodyRule::ImageUrlsV4);
    let files = matches!(operation.audience, Audience::Push | Audience::Params);
    let everybody = files || matches!(operation.body, BodyRule::Push | BodyRule::GroupPush);
    (!facts.audience_file || files)
        && (facts.reach < Reach::Everybody || everybody)
        && (!(facts.oppo_big || facts.oppo_icon) || pictures)
}

impl Forwarded {
    fn render(&self, json: bool) -> String {
        if json {
            return to_json(self);
        }
        let budget = |draws: &Draws| {
            let when = draws.when.map(|when| format!(", if {when}")).unwrap_or_default();
            format!("budget:     {} ({} in {}{when})\n", draws.name, draws.limit, draws.window)
        };
        let budgets: String = self.budgets.iter().map(budget).collect();
        let quota = self.quota.as_deref().unwrap_or("none");
        format!(
            "operation:  {}\ncaller:     {}\ntenant:     {}\ncredential: {} {}\nscope:      {}\n{budgets}quota:      {quota}\n\
             body rule:  {}\nvendor URL: {}\n",
            self.operation,
            self.caller,
            self.tenant,
            self.credential,
            self.key,
            self.scope,
            self.body_rule,
            self.vendor_url,
        )
    }
}

fn to_json(value: &impl Serialize) -> String {
    let mut json = serde_json::to_string_pretty(value).expect("numbers and strings always serialise");
    json.push('\n');
    json
}
