//! A condition in CEL, the Common Expression Language: compiled once, and refused then if it asks for
//! what nobody can tell it.

use std::fmt;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, LazyLock};

use cel::common::ast::{EntryExpr, Expr, IdedExpr, LiteralValue, SelectExpr, operators};
use cel::objects::Key;
use cel::{Context, Env, ExecutionError, Program, Value};

/// Longest condition.
const EXPRESSION_BYTES_MAX: usize = 2 * 1024;

/// How deep a condition may be nested: parsing and asking it take stack for each step.
const DEPTH_MAX: usize = 64;
const BRACKETS_MAX: usize = 32;

/// The stack that is enough to parse any text of these limits.
const PARSER_STACK_BYTES: usize = 32 * 1024 * 1024;

/// What a condition may ask about.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// Somebody who asks for something: `user`, `client`, `server`, `method`, `tool`, `resource`,
    /// `prompt`, `args`.
    Request,
    /// Somebody who logs in: `user` alone.
    Login,
}

/// A compiled condition.
#[derive(Debug)]
pub struct Expression {
    text: String,
    program: Program,
    claims: Vec<String>,
    variables: Vec<&'static str>,
    /// Whether a claim may be of any kind, or not there.
    asks_about_claims: bool,
    /// What it asks of a person whether it is there.
    tests: Vec<Tested>,
}

/// Something of a person.
#[derive(Debug, PartialEq, Eq)]
enum Tested {
    Member(String),
    Claim(String),
}

/// Why a condition cannot be used.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ExpressionError {
    /// Longer than anybody reads.
    #[error("it is longer than {EXPRESSION_BYTES_MAX} bytes: write several rules")]
    TooLong,
    /// Deeper than anybody reads.
    #[error("it is nested too deep: write several rules")]
    TooDeep,
    /// It is no CEL.
    #[error("it is no condition, at column {column}: {problem}")]
    Syntax {
        /// Where, from 1 on.
        column: isize,
        /// What is wrong.
        problem: String,
    },
    /// Nothing is called so.
    #[error("there is no {name:?} to ask about: there are {known}")]
    UnknownVariable {
        /// What was written.
        name: String,
        /// What there is.
        known: String,
    },
    /// A person or a client has no such member.
    #[error("{of} has no {name:?}: it has {known}")]
    UnknownMember {
        /// Of what.
        of: &'static str,
        /// What was written.
        name: String,
        /// What there is.
        known: String,
    },
    /// A person or a client as such is compared with nothing.
    #[error("{of} is asked by what it has: {known}")]
    Whole {
        /// Which.
        of: &'static str,
        /// What it has.
        known: String,
    },
    /// Without names nobody knows which claims to keep.
    #[error("a claim is named where it is asked for: write for example user.claims.department")]
    UnnamedClaim,
    /// There is no such function.
    #[error("there is no function {name:?}: there are {known}")]
    UnknownFunction {
        /// What was written.
        name: String,
        /// What there is.
        known: String,
    },
    /// It says something else than yes or no.
    #[error("it says neither yes nor no: compare it with something")]
    NoCondition,
    /// It can never say anything.
    #[error("it cannot be asked of anybody: {0}")]
    Senseless(String),
}

/// What came of a condition.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    /// It is so.
    Yes,
    /// It is not.
    No,
    /// It depends on what is not known yet.
    Unknown,
    /// It could not be said.
    Failed(String),
}

/// What is known of a request, by variable. What is not among it is not known yet.
#[derive(Debug, Clone, Default)]
pub(super) struct Facts {
    known: Vec<(&'static str, Value)>,
    is_person_in_part: bool,
}

/// The same, as conditions ask for it: made once for all rules that are asked.
pub(super) struct Scene<'a> {
    facts: &'a Facts,
    context: Context<'static, 'static>,
}

const USER: &[&str] =
    &["claims", "email", "email_verified", "groups", "is_machine", "issuer", "name", "subject"];
const CLIENT: &[&str] = &["host", "id"];
const OF_REQUEST: &[&str] =
    &["args", "client", "method", "prompt", "resource", "server", "tool", "user"];
const OF_LOGIN: &[&str] = &["user"];
const FUNCTIONS: &[&str] = &[
    "bool",
    "contains",
    "double",
    "endsWith",
    "int",
    "matches",
    "size",
    "startsWith",
    "string",
    "uint",
];
const MACROS: &[&str] = &["all", "exists", "exists_one", "filter", "has", "map"];

/// The claim that `user.groups` is made of.
const GROUPS: &str = "groups";

/// The functions of the language; made once.
static LANGUAGE: LazyLock<Arc<Env>> = LazyLock::new(|| Arc::new(Env::stdlib()));

impl Facts {
    pub(super) fn know(&mut self, variable: &'static str, value: Value) {
        self.known.push((variable, value));
    }

    /// Of the person there may be more than anybody here knows.
    pub(super) fn of_a_person_in_part(mut self) -> Self {
        self.is_person_in_part = true;
        self
    }

    /// Whether it is known of the person.
    fn tell(&self, tested: &Tested) -> bool {
        let user = self.known.iter().find(|(variable, _)| *variable == "user");
        let user = user.map(|(_, value)| value);
        match tested {
            Tested::Member(name) => user.and_then(|user| member(user, name)).is_some(),
            Tested::Claim(name) => {
                let claims = user.and_then(|user| member(user, "claims"));
                claims.and_then(|claims| member(claims, name)).is_some()
            }
        }
    }

    pub(super) fn scene(&self) -> Scene<'_> {
        let mut context = Context::with_env(Arc::clone(&LANGUAGE));
        for (variable, value) in &self.known {
            context.add_variable_from_value(*variable, value.clone());
        }
        Scene { facts: self, context }
    }

    pub(super) fn with(mut self, variable: &'static str, value: Value) -> Self {
        self.know(variable, value);
        self
    }
}

fn member<'a>(of: &'a Value, name: &str) -> Option<&'a Value> {
    let Value::Map(members) = of else { return None };
    members.map.get(&Key::String(Arc::new(name.to_owned())))
}

/// Whether they were written alike: all else is made of the text.
impl PartialEq for Expression {
    fn eq(&self, other: &Self) -> bool {
        self.text == other.text
    }
}

impl Expression {
    /// Reads a condition.
    ///
    /// # Errors
    /// When it is none, or asks for what there is not.
    pub fn parse(text: &str, scope: Scope) -> Result<Self, ExpressionError> {
        if text.len() > EXPRESSION_BYTES_MAX {
            return Err(ExpressionError::TooLong);
        }
        let syntax = |column, problem: &str| ExpressionError::Syntax {
            column,
            problem: problem.lines().next().unwrap_or_default().to_owned(),
        };
        if brackets(text) > BRACKETS_MAX {
            return Err(ExpressionError::TooDeep);
        }
        let compiled = std::thread::scope(|scope| {
            let parser = std::thread::Builder::new().stack_size(PARSER_STACK_BYTES);
            parser.spawn_scoped(scope, || Program::compile(text)).ok()?.join().ok()
        });
        let compiled = compiled.ok_or_else(|| syntax(1, "nobody can read it"))?;
        let program = compiled.map_err(|errors| match errors.errors.first() {
            Some(error) => syntax(error.pos.1.max(1), &error.msg),
            None => syntax(1, "it is empty"),
        })?;
        if depth(program.expression()) > DEPTH_MAX {
            return Err(ExpressionError::TooDeep);
        }
        let mut reading = Reading { scope, ..Reading::default() };
        reading.walk(program.expression(), &mut Vec::new())?;
        let Reading { claims, variables, asks_about_claims, tests, .. } = reading;
        let text = text.to_owned();
        let expression = Self { text, program, claims, variables, asks_about_claims, tests };
        expression.try_out(scope)?;
        Ok(expression)
    }

    /// As it was written.
    pub fn as_str(&self) -> &str {
        &self.text
    }

    /// The claims it asks about.
    pub fn claims(&self) -> impl Iterator<Item = &str> {
        self.claims.iter().map(String::as_str)
    }

    /// Whether what somebody passes along makes a difference.
    pub(super) fn asks_about(&self, variable: &str) -> bool {
        self.variables.contains(&variable)
    }

    /// What it says of these facts. Never panics, whatever the language does.
    pub(super) fn decide(&self, scene: &Scene<'_>) -> Outcome {
        // "It is not there" would be an answer, and nobody knows.
        let is_unknown = |tested: &&Tested| !scene.facts.tell(tested);
        if scene.facts.is_person_in_part
            && let Some(Tested::Member(name) | Tested::Claim(name)) =
                self.tests.iter().find(is_unknown)
        {
            return Outcome::Failed(format!("nobody said whether there is {name:?}"));
        }
        let decided = catch_unwind(AssertUnwindSafe(|| self.program.execute(&scene.context)));
        match decided {
            Ok(Ok(Value::Bool(true))) => Outcome::Yes,
            Ok(Ok(Value::Bool(false))) => Outcome::No,
            Ok(Ok(_)) => Outcome::Failed("it says neither yes nor no".to_owned()),
            Ok(Err(_)) if self.lacks_facts(scene.facts) => Outcome::Unknown,
            Ok(Err(error)) => Outcome::Failed(self.shown(&error)),
            Err(_) => Outcome::Failed("the condition broke".to_owned()),
        }
    }

    /// An error for the log, in words that the operator wrote: values are of whoever asked.
    fn shown(&self, error: &ExecutionError) -> String {
        if let ExecutionError::NoSuchKey(name) = error
            && self.text.contains(name.as_str())
        {
            return format!("there is no {name:?}");
        }
        if let ExecutionError::NoSuchOverload(error) = error {
            return error.to_string();
        }
        let words = if is_of_wrong_kinds(error) {
            "the kinds of its values do not fit"
        } else {
            "it cannot be worked out"
        };
        words.to_owned()
    }

    /// An error may come of what is not known: then nothing is said.
    fn lacks_facts(&self, facts: &Facts) -> bool {
        let is_known = |variable: &&&str| facts.known.iter().any(|(known, _)| known == *variable);
        !self.variables.iter().all(|variable| is_known(&variable))
    }

    /// Asks it of nobody in particular, so that a slip shows when it is written.
    fn try_out(&self, scope: Scope) -> Result<(), ExpressionError> {
        let text = |name: &str| (name.to_owned(), super::value::of_text(""));
        let no = |name: &str| (name.to_owned(), Value::Bool(false));
        let user = ["email", "issuer", "name", "subject"].map(text).into_iter();
        let user = user.chain(["email_verified", "is_machine"].map(no));
        let user = user.chain([
            ("groups".to_owned(), Value::List(Arc::default())),
            ("claims".to_owned(), super::value::of_members([])),
        ]);
        let mut nobody = Facts::default().with("user", super::value::of_members(user));
        match scope {
            Scope::Login => {}
            Scope::Request => {
                let client = super::value::of_members(["host", "id"].map(text));
                nobody.know("client", client);
                for variable in ["server", "method", "tool", "resource", "prompt"] {
                    nobody.know(variable, super::value::of_text(""));
                }
            }
        }
        match catch_unwind(AssertUnwindSafe(|| self.program.execute(&nobody.scene().context))) {
            Ok(Ok(Value::Bool(_))) => Ok(()),
            Ok(Ok(_)) => Err(ExpressionError::NoCondition),
            // What depends on arguments and claims may be anything.
            Ok(Err(_)) if self.asks_about("args") || self.asks_about_claims => Ok(()),
            Ok(Err(error)) if is_of_wrong_kinds(&error) => {
                Err(ExpressionError::Senseless(self.shown(&error)))
            }
            Ok(Err(_)) => Ok(()),
            Err(_) => Err(ExpressionError::Senseless("the condition broke".to_owned())),
        }
    }
}

impl fmt::Display for Expression {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.text)
    }
}

/// Whether no values could make it right, since it is about their kinds.
const fn is_of_wrong_kinds(error: &ExecutionError) -> bool {
    matches!(
        error,
        ExecutionError::NoSuchOverload(_)
            | ExecutionError::UnexpectedType { .. }
            | ExecutionError::UndeclaredReference(_)
            | ExecutionError::UnsupportedBinaryOperator(..)
            | ExecutionError::ValuesNotComparable(..)
            | ExecutionError::InvalidArgumentCount { .. }
    )
}

/// How many brackets are open at once at most; one within a text counts too.
fn brackets(text: &str) -> usize {
    let mut open = 0_usize;
    let depths = text.bytes().map(|byte| {
        match byte {
            b'(' | b'[' | b'{' => open += 1,
            b')' | b']' | b'}' => open = open.saturating_sub(1),
            _ => {}
        }
        open
    });
    depths.max().unwrap_or_default()
}

/// The longest way down, without going it by recursion.
fn depth(root: &IdedExpr) -> usize {
    let mut deepest = 0;
    let mut left = vec![(root, 1)];
    while let Some((node, depth)) = left.pop() {
        deepest = deepest.max(depth);
        let mut go = |node| left.push((node, depth + 1));
        match &node.expr {
            // What makes a structure is refused whatever is inside.
            Expr::Unspecified | Expr::Literal(_) | Expr::Ident(_) | Expr::Struct(_) => {}
            Expr::Select(select) => go(&select.operand),
            Expr::Call(call) => {
                call.target.iter().map(|target| &**target).chain(&call.args).for_each(go);
            }
            Expr::List(list) => list.elements.iter().for_each(go),
            Expr::Comprehension(one) => {
                let parts = [&one.iter_range, &one.accu_init, &one.loop_cond, &one.loop_step];
                parts.into_iter().chain([&one.result]).for_each(go);
            }
            Expr::Map(map) => map.entries.iter().for_each(|entry| {
                if let EntryExpr::MapEntry(entry) = &entry.expr {
                    go(&entry.key);
                    go(&entry.value);
                }
            }),
        }
    }
    deepest
}

/// What is read out of an expression while it is walked.
struct Reading {
    scope: Scope,
    claims: Vec<String>,
    variables: Vec<&'static str>,
    asks_about_claims: bool,
    tests: Vec<Tested>,
}

impl Default for Reading {
    fn default() -> Self {
        Self {
            scope: Scope::Request,
            claims: Vec::new(),
            variables: Vec::new(),
            asks_about_claims: false,
            tests: Vec::new(),
        }
    }
}

impl Reading {
    /// `bound` are the names that a macro has given to elements of a list.
    fn walk(&mut self, node: &IdedExpr, bound: &mut Vec<String>) -> Result<(), ExpressionError> {
        match &node.expr {
            Expr::Unspecified | Expr::Literal(_) => Ok(()),
            Expr::Ident(name) if name.starts_with('@') || bound.contains(name) => Ok(()),
            Expr::Ident(name) => self.read_variable(name).and_then(|known| match known {
                "user" => Err(ExpressionError::Whole { of: "user", known: USER.join(", ") }),
                "client" => Err(ExpressionError::Whole { of: "client", known: CLIENT.join(", ") }),
                _ => Ok(()),
            }),
            Expr::Select(select) => {
                let SelectExpr { operand, field, test } = select;
                if *test && is_claims(operand, bound) {
                    self.tests.push(Tested::Claim(field.clone()));
                } else if *test && is_user(operand, bound) {
                    self.tests.push(Tested::Member(field.clone()));
                }
                self.read_member(operand, field, bound)
            }
            Expr::Call(call) if call.func_name == operators::INDEX => {
                match (call.args.first(), call.args.get(1).map(|index| &index.expr)) {
                    (Some(operand), Some(Expr::Literal(LiteralValue::String(name)))) => {
                        self.read_member(operand, name.inner(), bound)
                    }
                    (Some(operand), _) if is_claims(operand, bound) => {
                        Err(ExpressionError::UnnamedClaim)
                    }
                    _ => self.walk_all(&call.args, bound),
                }
            }
            Expr::Call(call) => {
                let is_operator = |name: &str| {
                    name.contains(|letter: char| !letter.is_ascii_alphanumeric() && letter != '_')
                };
                let name = call.func_name.as_str();
                if !is_operator(name) && !FUNCTIONS.contains(&name) {
                    let known = [FUNCTIONS, MACROS].concat().join(", ");
                    return Err(ExpressionError::UnknownFunction { name: name.to_owned(), known });
                }
                if let Some(target) = &call.target {
                    self.walk(target, bound)?;
                }
                self.walk_all(&call.args, bound)
            }
            Expr::Comprehension(comprehension) => {
                self.walk(&comprehension.iter_range, bound)?;
                self.walk(&comprehension.accu_init, bound)?;
                let before = bound.len();
                bound.push(comprehension.iter_var.clone());
                bound.push(comprehension.accu_var.clone());
                bound.extend(comprehension.iter_var2.clone());
                self.walk(&comprehension.loop_cond, bound)?;
                self.walk(&comprehension.loop_step, bound)?;
                self.walk(&comprehension.result, bound)?;
                bound.truncate(before);
                Ok(())
            }
            Expr::List(list) => self.walk_all(&list.elements, bound),
            Expr::Map(map) => self.walk_entries(map.entries.iter().map(|entry| &entry.expr), bound),
            Expr::Struct(made) => Err(ExpressionError::UnknownFunction {
                name: made.type_name.clone(),
                known: FUNCTIONS.join(", "),
            }),
        }
    }

    fn walk_all(
        &mut self,
        nodes: &[IdedExpr],
        bound: &mut Vec<String>,
    ) -> Result<(), ExpressionError> {
        nodes.iter().try_for_each(|node| self.walk(node, bound))
    }

    fn walk_entries<'a>(
        &mut self,
        mut entries: impl Iterator<Item = &'a EntryExpr>,
        bound: &mut Vec<String>,
    ) -> Result<(), ExpressionError> {
        entries.try_for_each(|entry| match entry {
            EntryExpr::StructField(field) => self.walk(&field.value, bound),
            EntryExpr::MapEntry(entry) => {
                self.walk(&entry.key, bound)?;
                self.walk(&entry.value, bound)
            }
        })
    }

    fn read_variable(&mut self, name: &str) -> Result<&'static str, ExpressionError> {
        let known = match self.scope {
            Scope::Request => OF_REQUEST,
            Scope::Login => OF_LOGIN,
        };
        let Some(variable) = known.iter().find(|known| **known == name) else {
            let known = known.join(", ");
            return Err(ExpressionError::UnknownVariable { name: name.to_owned(), known });
        };
        if !self.variables.contains(variable) {
            self.variables.push(variable);
        }
        Ok(variable)
    }

    /// `operand.field`, and `operand["field"]`, which is the same.
    fn read_member(
        &mut self,
        operand: &IdedExpr,
        field: &str,
        bound: &mut Vec<String>,
    ) -> Result<(), ExpressionError> {
        if is_claims(operand, bound) {
            self.keep_claim(field);
            self.asks_about_claims = true;
            return self.read_variable("user").map(|_| ());
        }
        let Expr::Ident(name) = &operand.expr else { return self.walk(operand, bound) };
        if bound.contains(name) {
            return Ok(());
        }
        match self.read_variable(name)? {
            "user" if field == "claims" => Err(ExpressionError::UnnamedClaim),
            "user" if !USER.contains(&field) => Err(member_of("user", field, USER)),
            "client" if !CLIENT.contains(&field) => Err(member_of("client", field, CLIENT)),
            "user" if field == GROUPS => {
                self.keep_claim(GROUPS);
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn keep_claim(&mut self, name: &str) {
        if !self.claims.iter().any(|known| known == name) {
            self.claims.push(name.to_owned());
        }
    }
}

/// Whether it is `user.claims`, written either way.
fn is_claims(node: &IdedExpr, bound: &[String]) -> bool {
    if let Expr::Select(select) = &node.expr {
        return select.field == "claims" && is_user(&select.operand, bound);
    }
    let Expr::Call(call) = &node.expr else { return false };
    let [operand, index] = call.args.as_slice() else { return false };
    let names_claims = matches!(
        &index.expr,
        Expr::Literal(LiteralValue::String(name)) if name.inner() == "claims"
    );
    call.func_name == operators::INDEX && names_claims && is_user(operand, bound)
}

fn is_user(node: &IdedExpr, bound: &[String]) -> bool {
    matches!(&node.expr, Expr::Ident(name) if name == "user")
        && !bound.iter().any(|name| name == "user")
}

fn member_of(of: &'static str, name: &str, known: &[&str]) -> ExpressionError {
    ExpressionError::UnknownMember { of, name: name.to_owned(), known: known.join(", ") }
}
