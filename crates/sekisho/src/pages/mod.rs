//! The pages people see on their way through: consent, chooser, login, account, logout, error, notice,
//! welcome.
//!
//! Every page is one card of plain HTML under a policy that allows nothing but its own stylesheet
//! (RFC 9700 §4.16): no script, no picture, nothing loaded from anywhere. What a client says of
//! itself is shown as its own claim and cleaned first; where the answer goes is shown plainly.
//! A page never decides anything, never sets a cookie, and never shows a reason that only the log
//! may know.
//!
//! The words are plain typed Rust, one value per language, and not fluent: there are two languages,
//! a hundred sentences and one plural. A struct makes a forgotten sentence a compile error, needs
//! no parser at run time, and its files are read as easily by a translator. Should a language come
//! whose grammar needs more than functions of a number, that is the day to change.

mod account;
mod chooser;
mod consent;
mod error;
mod frame;
mod headers;
mod language;
mod login;
mod logout;
mod notice;
mod untrusted;
mod welcome;
mod words;

pub use account::{
    AccountApplication, AccountLoginPage, AccountPage, AccountProblem, AccountServer, AccountToken,
};
pub use chooser::{ChooserForm, ChooserPage};
pub use consent::ConsentPage;
pub use error::{ErrorPage, Problem};
pub use headers::{Referrer, secure_headers};
pub use language::Language;
pub use login::{LoginPage, LoginProblem};
pub use logout::LogoutPage;
pub use notice::NoticePage;
pub use welcome::WelcomePage;
