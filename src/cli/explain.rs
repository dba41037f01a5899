//! The command `explain`: shows what would happen to a call, without making it.
//!
//! It runs the gateway's own stages in the same order: parsing the head, matching the operation, authorizing, and the
//! body rules that need no body. Only the caller is not authenticated, because the configuration holds no tokens.

use std::process::ExitCode;
use std::sync::Arc;

use serde::Serialize;

use super::{BAD, Explain, GOOD, complain, print, to_json};
use crate::auth::Unidentified;
use crate::body::{self, Facts, Reach, Subject};
use crate::budget::{Budgets, Timestamp};
use crate::config::{self, Config};
use crate::gateway::{RequestKind, asks_whoami, read};
use crate::operation::{self, BodyRule, OperationId, Path};
use crate::outbound::{Inbound, target};
use crate::refusal::{Refusal, ReplyContext};
use crate::request::{RequestHead, RequestId};
use crate::tenant::{Denied, Directory, Grant, MissingRight, TenantHints};

pub(super) fn run(arguments: &Explain) -> ExitCode {
    let config = match config::load(&arguments.file.config) {
        Ok(config) => config,
        Err(faults) => return complain(&faults),
    };
    let outcome = CallToExplain { config: &config, arguments }.decide();
    print(&if arguments.json { to_json(&outcome) } else { outcome.render() });
    if matches!(outcome, Explanation::Refused(_)) { ExitCode::from(BAD) } else { GOOD }
}

/// The outcome of a call.
#[derive(Serialize)]
#[serde(untagged)]
enum Explanation {
    /// The gateway would answer the call itself, without refusing it.
    Local(LocalAnswer),
    /// The gateway would forward the call.
    Forwarded(Forwarded),
    /// The gateway would refuse the call.
    Refused(ExplainedRefusal),
}

#[derive(Serialize)]
struct LocalAnswer {
    local: bool,
    status: u16,
    message: &'static str,
}

#[derive(Serialize)]
struct Forwarded {
    operation: &'static str,
    caller: String,
    tenant: String,
    credential: &'static str,
    key: String,
    scope: &'static str,
    budgets: Vec<BudgetDraw>,
    refused_if: Vec<RefusedIf>,
    quota: Option<String>,
    body_rule: &'static str,
    vendor_url: String,
}

#[derive(Serialize)]
struct BudgetDraw {
    name: &'static str,
    limit: u32,
    window: String,
    /// Content of a body that makes the call draw on the budget; `None` for the operation's own budget.
    when: Option<&'static str>,
}

/// Content of a body that makes the gateway refuse the call.
#[derive(Serialize)]
struct RefusedIf {
    when: &'static str,
    #[serde(flatten)]
    refused: ExplainedRefusal,
}

#[derive(Serialize)]
struct ExplainedRefusal {
    refused: bool,
    status: u16,
    /// `None` if the head cannot be parsed: such an answer has a status and nothing else.
    reason: Option<&'static str>,
    code: Option<u32>,
    message: String,
    /// The missing right of a forbidden call: tenant, scope, credential or broadcast. The real answer does not tell it.
    lacks: Option<&'static str>,
    why: Option<String>,
}

struct CallToExplain<'q> {
    config: &'q Config,
    arguments: &'q Explain,
}

impl CallToExplain<'_> {
    fn decide(&self) -> Explanation {
        let Some(head) = head_of(self.arguments) else {
            let message =
                "this is no request of HTTP that can be read; its answer is a status alone".to_owned();
            let refused = ExplainedRefusal {
                refused: true,
                status: 400,
                reason: None,
                code: None,
                message,
                lacks: None,
                why: None,
            };
            return Explanation::Refused(refused);
        };
        let unknown = ReplyContext::of_path(head.target.path());
        match read(&head) {
            Err(refusal) => Explanation::Refused(self.refused(&refusal, unknown)),
            Ok(RequestKind::Probe) => Explanation::Local(LocalAnswer {
                local: true,
                status: 200,
                message: "answered here, without credentials: a question whether anybody is here",
            }),
            Ok(RequestKind::Call(path)) => match self.call(&head, path.as_ref().map_err(|bad| *bad)) {
                Ok(explanation) => explanation,
                Err((refusal, place)) => {
                    Explanation::Refused(self.refused(&refusal, place.unwrap_or(unknown)))
                }
            },
        }
    }

    fn call(
        &self,
        head: &RequestHead,
        path: Result<&Path<'_>, operation::BadPath>,
    ) -> Result<Explanation, (Refusal, Option<ReplyContext>)> {
        let directory = Arc::new(Directory::new(self.config, &Budgets::default()));
        let (caller, user) = (&self.arguments.caller, self.arguments.tenant.as_deref());
        let principal = directory.principal_named(caller, user);
        let principal = principal.ok_or((Refusal::Unauthenticated(Unidentified::Wrong), None))?;
        let path = path.map_err(|bad| (bad.into(), None))?;
        if asks_whoami(&head.method, path).map_err(|none| (none.into(), None))? {
            return Ok(Explanation::Local(LocalAnswer {
                local: true,
                status: 200,
                message: "answered here: who the caller is, what it may do, and how its budgets stand",
            }));
        }
        let matched = operation::find(head.method.as_str(), path).map_err(|none| (none.into(), None))?;
        let at = |refusal| (refusal, Some(ReplyContext::Known(matched.operation)));
        let grant = directory.authorize(principal, matched.operation, TenantHints::default());
        let grant = grant.map_err(|denied| at(denied.into()))?;
        let operation = grant.operation();
        if matches!(operation.body, BodyRule::None | BodyRule::CidQuery) {
            let subject = Subject {
                method: operation.method,
                family: operation.family(),
                query: head.target.query(),
                value: matched.value,
                content_type: None,
                encrypted: false,
                app_key: grant.app_key(),
                files: &self.config.files,
                images: &self.config.images,
            };
            body::check(operation.body, &subject, b"").map_err(|defect| at(defect.into()))?;
        }
        Ok(Explanation::Forwarded(self.forwarded(&directory, &grant, (head, path))))
    }

    fn forwarded(
        &self,
        directory: &Directory,
        grant: &Grant,
        (head, path): (&RequestHead, &Path<'_>),
    ) -> Forwarded {
        let operation = grant.operation();
        let request_id = RequestId::parse("explain").expect("an id");
        let inbound =
            Inbound { head: None, target: &head.target, path, request_id: &request_id, context: None };
        let quota = grant.caller().quota().map(|quota| {
            let limit = quota.limit();
            format!("{} in {}", limit.limit, humantime::format_duration(limit.window))
        });
        let (budgets, refused_if) = self.bodies(grant);
        Forwarded {
            operation: operation.name,
            caller: grant.caller().name.clone(),
            tenant: grant.tenant().name.clone(),
            credential: grant.credential_kind().as_str(),
            key: grant.credential().key.as_str().to_owned(),
            scope: operation.scope.as_str(),
            budgets,
            refused_if,
            quota,
            body_rule: operation.body.as_str(),
            vendor_url: format!(
                "{}{}",
                directory.origins[grant.origin().0].origin(),
                target(grant, &inbound)
            ),
        }
    }

    /// The budgets and refusals that a body can add to the operation's own budget.
    fn bodies(&self, grant: &Grant) -> (Vec<BudgetDraw>, Vec<RefusedIf>) {
        let plain = Facts { reach: Reach::Named, ..Facts::default() };
        let facts = [
            (None, plain),
            (Some("the push goes to a target list"), Facts { audience_file: true, ..plain }),
            (Some("\"audience\":\"all\""), Facts { reach: Reach::Everybody, ..plain }),
            (Some("an encrypted push"), Facts { reach: Reach::Everybody, encrypted: true, ..plain }),
            (Some("a big OPPO picture"), Facts { oppo_big: true, ..plain }),
            (Some("an OPPO icon"), Facts { oppo_icon: true, ..plain }),
        ];
        let (mut draws, mut refused_if): (Vec<BudgetDraw>, _) = (Vec::new(), Vec::new());
        for (when, facts) in facts.into_iter().filter(|(_, facts)| can_say(grant.operation(), *facts)) {
            if let (Some(when), Err(denied)) = (when, grant.permit(&facts)) {
                let refused = self.refused(&denied.into(), ReplyContext::Known(grant.operation()));
                refused_if.push(RefusedIf { when, refused });
                continue;
            }
            for budget in grant.budget_set(&facts).iter() {
                let status = budget.status(Timestamp::default());
                if draws.iter().all(|known| known.name != status.name.as_str()) {
                    let window = humantime::format_duration(status.window).to_string();
                    draws.push(BudgetDraw { name: status.name.as_str(), limit: status.limit, window, when });
                }
            }
        }
        (draws, refused_if)
    }

    fn refused(&self, refusal: &Refusal, place: ReplyContext) -> ExplainedRefusal {
        let (status, code) = refusal.outcome(place);
        let (lacks, why) = self.why(refusal).unzip();
        ExplainedRefusal {
            refused: true,
            status: status.as_u16(),
            reason: Some(refusal.reason()),
            code: Some(code),
            message: refusal.message(),
            lacks: lacks.flatten(),
            why,
        }
    }

    /// The missing right and an explanation for operators, which the real answer leaves out.
    fn why(&self, refusal: &Refusal) -> Option<(Option<&'static str>, String)> {
        let Explain { caller, tenant, .. } = self.arguments;
        let known = self.config.callers.iter().find(|known| known.name == *caller);
        let Some(known) = known else {
            let hint = config::hint(caller, self.config.callers.iter().map(|known| known.name.as_str()));
            return Some((None, format!("no caller is called {caller:?} in this configuration{hint}")));
        };
        let Refusal::Denied(Denied::Forbidden(lack)) = refusal else { return None };
        Some(match lack {
            MissingRight::Tenant => {
                let written = tenant.as_deref().unwrap_or_default();
                let hint = config::hint(written, known.tenants.iter().map(String::as_str));
                let tenants = known.tenants.join(", ");
                (
                    Some("tenant"),
                    format!("{caller} has no tenant that goes by {written:?}; it has: {tenants}{hint}"),
                )
            }
            MissingRight::Scope(scope) => {
                (Some("scope"), format!("{caller} lacks the scope {}", scope.as_str()))
            }
            MissingRight::Credential(kind) => {
                (Some("credential"), format!("the tenant has no {} credential", kind.as_str()))
            }
            MissingRight::Broadcast => (Some("broadcast"), format!("{caller} has broadcast: false")),
        })
    }
}

/// Builds the head of the call and parses it as the gateway would; `None` if it cannot be parsed.
fn head_of(Explain { method, path, .. }: &Explain) -> Option<RequestHead> {
    let parts = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte > b' ' && byte != 0x7f);
    let bytes = format!("{method} {path} HTTP/1.1\r\nHost: gateway\r\n\r\n");
    if !(parts(method) && parts(path)) {
        return None;
    }
    let (head, _) = RequestHead::parse(bytes.as_bytes()).ok()?;
    Some(head)
}

/// Whether a body of this operation can have such facts.
fn can_say(operation: OperationId, facts: Facts) -> bool {
    let (pictures, files) = (operation.takes_pictures(), operation.can_name_list());
    let everybody = files || matches!(operation.body, BodyRule::Push | BodyRule::GroupPush);
    (!facts.audience_file || files)
        && (facts.reach < Reach::Everybody || everybody)
        && (!facts.encrypted || operation.takes_encrypted())
        && (!(facts.oppo_big || facts.oppo_icon) || pictures)
}

impl Explanation {
    fn render(&self) -> String {
        match self {
            Self::Local(local) => {
                format!("answered:   {} by the gateway itself\nmessage:    {}\n", local.status, local.message)
            }
            Self::Forwarded(forwarded) => forwarded.render(),
            Self::Refused(refused) => refused.render(),
        }
    }
}

impl ExplainedRefusal {
    fn render(&self) -> String {
        let line = |name: &str, text: &str| format!("{name:<12}{text}\n");
        let outcome = match (self.reason, self.code) {
            (Some(reason), Some(code)) => format!("{} {reason}, code {code}", self.status),
            _ => self.status.to_string(),
        };
        let lacks = self.lacks.map(|lacks| line("lacks:", lacks)).unwrap_or_default();
        let why = self.why.as_deref().map(|why| line("why:", why)).unwrap_or_default();
        format!("{}{}{lacks}{why}", line("refused:", &outcome), line("message:", &self.message))
    }
}

impl Forwarded {
    fn render(&self) -> String {
        let budget = |draws: &BudgetDraw| {
            let when = draws.when.map(|when| format!(", if {when}")).unwrap_or_default();
            format!("budget:     {} ({} in {}{when})\n", draws.name, draws.limit, draws.window)
        };
        let budgets: String = self.budgets.iter().map(budget).collect();
        let refused = |RefusedIf { when, refused }: &RefusedIf| {
            let why = refused.why.as_deref().unwrap_or(&refused.message);
            format!("refused if: {when} ({} {}: {why})\n", refused.status, refused.reason.unwrap_or_default())
        };
        let refused_if: String = self.refused_if.iter().map(refused).collect();
        let quota = self.quota.as_deref().unwrap_or("none");
        format!(
            "operation:  {}\ncaller:     {}\ntenant:     {}\ncredential: {} {}\nscope:      {}\n{budgets}{refused_if}\
             quota:      {quota}\nbody rule:  {}\nvendor URL: {}\n",
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
