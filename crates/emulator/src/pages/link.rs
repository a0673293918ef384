//! Hosted Link: one page that shows where a session stands, and one form that takes its next step.

use std::sync::Arc;

use askama::Template;
use hyper::{Method, Response};

use super::{Form, field, page, see_other};
use crate::distort::Body;
use crate::engine::Engine;
use crate::institutions::Institution;
use crate::item::Standing;
use crate::link::{LinkStep, LinkToken, Session, Stage};
use crate::world::{Command, World};

#[derive(Template)]
#[template(path = "link.html")]
struct Page {
    title: String,
    subtitle: String,
    error: Option<String>,
    view: View,
    /// Whether the person can still leave.
    open: bool,
}

enum View {
    Banks { query: String, banks: Vec<&'static Institution> },
    Credentials { username: String, fixed: bool },
    Questions { questions: Vec<(usize, String, Vec<String>, String)> },
    Accounts { accounts: Vec<Choice> },
    End { text: &'static str, link: Option<String> },
}

struct Choice {
    index: usize,
    name: String,
    about: String,
    chosen: bool,
}

/// Shows where a session stands, or takes a step.
pub(super) fn answer(
    engine: &Arc<Engine>,
    method: &Method,
    token: &str,
    query: &Form,
    form: &Form,
) -> Response<Body> {
    let now = engine.now();
    let usable =
        engine.read(|world| world.links.get(token).map(|link| link.expired(now) && !is_over(link)));
    match usable {
        None => return page(404, &ended("This link does not exist", "Ask for a new one.")),
        Some(true) => return page(410, &ended("This link has expired", "Ask for a new one.")),
        Some(false) => {}
    }
    let step = if method == Method::POST { step(form) } else { Some(LinkStep::Open) };
    if let Some(step) = step {
        let _outcome = engine.run(&Command::Link { token: token.to_owned(), step });
    }
    if method == Method::POST {
        return see_other(&format!("/link/{token}"));
    }
    let shown = engine.read(|world| Page::of(world, &world.links[token], field(query, "query")));
    page(200, &shown)
}

fn is_over(link: &LinkToken) -> bool {
    let over = |session: &Session| matches!(session.stage, Stage::Finished | Stage::Exited);
    link.session.as_ref().is_some_and(over)
}

fn step(form: &Form) -> Option<LinkStep> {
    let text = |name: &str| field(form, name).to_owned();
    let all = |start: &'static str| form.iter().filter(move |(name, _)| name.starts_with(start));
    match field(form, "step") {
        "pick" => Some(LinkStep::Pick { institution_id: text("institution_id") }),
        "sign_in" => {
            Some(LinkStep::SignIn { username: text("username"), password: text("password") })
        }
        "answer" => {
            let answers = all("answer").map(|(_, value)| value.clone()).collect();
            Some(LinkStep::Answer { answers })
        }
        "choose" => {
            let accounts = all("account").filter_map(|(_, index)| index.parse().ok()).collect();
            Some(LinkStep::Choose { accounts })
        }
        "exit" => Some(LinkStep::Exit),
        _ => None,
    }
}

fn ended(title: &str, text: &'static str) -> Page {
    Page {
        title: title.to_owned(),
        subtitle: String::new(),
        error: None,
        view: View::End { text, link: None },
        open: false,
    }
}

impl Page {
    fn of(world: &World, link: &LinkToken, query: &str) -> Self {
        let client = link.text("client_name").unwrap_or("This application").to_owned();
        let Some(session) = &link.session else {
            return ended("Link", "Reload the page to begin.");
        };
        let bank = session.institution().map_or("your bank", |bank| bank.name.as_str());
        let (title, view) = match session.stage {
            Stage::Institution => ("Choose your bank".to_owned(), banks(link, query)),
            Stage::Credentials => {
                let fixed = link.update_of.is_some();
                let view = View::Credentials { username: session.username.clone(), fixed };
                (format!("Sign in to {bank}"), view)
            }
            Stage::Challenge { .. } => (format!("{bank} asks more"), questions(session)),
            Stage::Accounts => {
                (format!("Choose accounts at {bank}"), accounts(world, link, session))
            }
            Stage::Finished => (
                "Done".to_owned(),
                View::End {
                    text: "Your accounts are linked. You can close this page.",
                    link: link.request["hosted_link"]["completion_redirect_uri"]
                        .as_str()
                        .map(str::to_owned),
                },
            ),
            Stage::Exited => (
                "You left".to_owned(),
                View::End {
                    text: "Nothing was linked. Ask for a new link to try again.",
                    link: link.request["hosted_link"]["completion_redirect_uri"]
                        .as_str()
                        .map(str::to_owned),
                },
            ),
        };
        let over = is_over(link);
        let error = session.error.as_ref().filter(|_| !over);
        Self {
            title,
            subtitle: match link.update_of {
                Some(_) => format!("{client} needs you to sign in again."),
                None => format!("{client} uses Plaid to link your accounts."),
            },
            error: error.map(|error| format!("{} ({})", error.error_message, error.error_code)),
            view,
            open: !over,
        }
    }
}

fn banks(link: &LinkToken, query: &str) -> View {
    let wanted = query.trim().to_lowercase();
    let banks = link.institutions().filter(|bank| bank.name.to_lowercase().contains(&wanted));
    View::Banks { query: query.to_owned(), banks: banks.collect() }
}

fn questions(session: &Session) -> View {
    let numbered = session.questions().into_iter().enumerate();
    let questions = numbered.map(|(number, (text, options, right))| (number, text, options, right));
    View::Questions { questions: questions.collect() }
}

fn accounts(world: &World, link: &LinkToken, session: &Session) -> View {
    let item = link.update_of.and_then(|number| world.items.get(&number));
    let chosen = |index: usize| match item {
        Some(item) => item.accounts.get(index).is_some_and(|own| own.standing == Standing::Shared),
        None => true,
    };
    let offered = session.choices.iter().enumerate().filter(|(_, (_, offered))| *offered);
    let accounts = offered.map(|(index, (plan, _))| Choice {
        index,
        name: plan.name.clone(),
        about: format!(
            "{} {}",
            plan.subtype.as_deref().unwrap_or(&plan.account_type),
            plan.mask.as_deref().unwrap_or_default()
        ),
        chosen: chosen(index),
    });
    View::Accounts { accounts: accounts.collect() }
}
