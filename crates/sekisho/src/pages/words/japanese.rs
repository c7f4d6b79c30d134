//! 日本語

use super::{
    AccountWords, ChooserWords, ConsentWords, ErrorWords, LoginWords, LogoutWords, ProblemWords,
    Told, WelcomeWords, Words,
};

pub(super) const WORDS: Words = Words {
    consent: ConsentWords {
        title: "アクセスを許可しますか？",
        lead: "アプリケーションが、あなたの代わりにこのサーバーを使おうとしています。",
        recipient: "応答の送り先",
        host_advice: "この送り先の運営者がアクセス権を受け取ります。心当たりがなければ拒否してください。",
        scheme_advice: "お使いの端末のアプリケーションが開きます。心当たりがなければ拒否してください。",
        loopback_warning: "送り先はお使いのコンピューターです",
        loopback_advice: "お使いのコンピューター上のどのプログラムでも、このアプリケーションになりすませます。\
                          普段お使いのアプリケーションから、たった今ご自分で始めた場合だけ許可してください。",
        client_host: "公開元",
        client_host_advice: "このアプリケーションは、このアドレスの運営者が公開しています（確認済み）。",
        name: "自称",
        name_open: "「",
        name_close: "」",
        name_advice: "アプリケーションが自ら名乗った名前です。確認されていません。",
        no_name: "アプリケーションは名乗っていません。",
        scopes: "求める権限",
        new: "新規",
        resource: "対象のサーバー",
        details: "技術的な詳細",
        client_id: "アプリケーション ID",
        redirect_uri: "戻り先の URI",
        allow: "許可",
        deny: "拒否",
    },
    chooser: ChooserWords {
        title: "どこでログインしますか？",
        lead: "アカウントをお持ちのところを選んでください。ログインすると、ここへ戻ります。",
        own: "このサーバーのアカウント",
    },
    login: LoginWords {
        title: "ログイン",
        lead: "パスワードはこのサーバーだけが使います。アプリケーションには渡りません。",
        username: "ユーザー名",
        password: "パスワード",
        submit: "ログイン",
        wrong_name_or_password: "ユーザー名またはパスワードが違います。もう一度お試しください。",
        too_many_tries: "試行回数が多すぎます。しばらく待ってから、もう一度お試しください。",
    },
    logout: LogoutWords {
        title: "ログアウトしますか？",
        lead: "このブラウザーからログアウトします。アプリケーションに許可したアクセスは、この操作だけでは取り消されません。",
        submit: "ログアウト",
    },
    error: ErrorWords {
        what_was_wrong: "問題の箇所",
        trace_id: "サーバーの管理者にお伝えください：",
        wait: |seconds| match seconds {
            0..=119 => format!("{} 秒後にもう一度お試しください。", seconds.max(1)),
            _ => format!("{} 分後にもう一度お試しください。", seconds.div_ceil(60)),
        },
    },
    problems: ProblemWords {
        unknown_client: Told {
            title: "登録のないアプリケーションです",
            explanation: "このサーバーへの登録が失われたか、まだ登録されていません。",
            remedy: "アプリケーションでこのサーバーをいったん削除し、もう一度追加してください。改めて登録されます。",
        },
        unknown_redirect_uri: Told {
            title: "送り先が登録されていません",
            explanation: "アプリケーションが、登録していないアドレスへ応答を送るよう求めました。\
                          そのため、そこへは移動していません。",
            remedy: "ご自分で始めた場合は、アプリケーションでこのサーバーを削除し、もう一度追加してください。\
                     リンクをたどって来た場合は、このウィンドウを閉じてください。",
        },
        client_document: Told {
            title: "このアプリケーションを確認できません",
            explanation: "アプリケーションの説明がウェブ上にあるはずですが、\
                          取得できないか、内容に問題があります。",
            remedy: "しばらくしてからやり直してください。続く場合は、アプリケーションの開発元に知らせてください。",
        },
        bad_request: Told {
            title: "要求を読み取れませんでした",
            explanation: "ここへ来るためのリンクが、欠けているか壊れています。",
            remedy: "アプリケーションからもう一度始めてください。繰り返す場合は、アプリケーションの作成者にお知らせください。",
        },
        login_not_found: Told {
            title: "このログインは終了しています",
            explanation: "期限が切れたか、すでに完了したか、始まっていないログインです。",
            remedy: "アプリケーションからもう一度始めてください。このウィンドウは閉じてかまいません。",
        },
        other_browser: Told {
            title: "別のブラウザーで始まったログインです",
            explanation: "ログインは、始めたブラウザーでしか完了できません。あなたのアカウントに入ろうとする誰かが、\
                          このリンクを送ってきたのかもしれません。相手には何も渡していません。",
            remedy: "ご自分で始めた場合は、そのブラウザーで続けるか、アプリケーションからもう一度始めてください。\
                     心当たりがなければ、このウィンドウを閉じてください。",
        },
        forged_answer: Told {
            title: "回答を受け付けませんでした",
            explanation: "このブラウザーに表示した画面からの回答ではないか、Cookie がブロックされています。",
            remedy: "前の画面に戻り、再読み込みしてから、もう一度お答えください。",
        },
        wrong_provider: Told {
            title: "別の相手から応答がありました",
            explanation: "このサーバーが使う ID プロバイダーからの応答ではないため、破棄しました。",
            remedy: "アプリケーションからもう一度始めてください。繰り返す場合は、サーバーの管理者にお知らせください。",
        },
        too_many_requests: Told {
            title: "少しお待ちください",
            explanation: "お使いのネットワークから、短い間に多くの要求がありました。",
            remedy: "その後、この画面を再読み込みするか、アプリケーションからもう一度始めてください。",
        },
        unavailable: Told {
            title: "ただいま通れません",
            explanation: "このサーバーが必要とする相手から、今は応答がありません。",
            remedy: "1 分ほど待ってから、もう一度お試しください。",
        },
        not_found: Told {
            title: "ここには何もありません",
            explanation: "このアドレスに画面はありません。",
            remedy: "アドレスを確かめるか、前の画面に戻ってください。",
        },
        internal: Told {
            title: "問題が起きました",
            explanation: "このサーバーの不具合です。あなたの操作に誤りはありません。",
            remedy: "アプリケーションからもう一度始めてください。繰り返す場合は、サーバーの管理者にお知らせください。",
        },
    },
    closable: Told {
        title: "完了しました",
        explanation: "ここでの操作はすべて終わりました。",
        remedy: "このウィンドウを閉じてかまいません。",
    },
    welcome: WelcomeWords {
        title: "関所の先に MCP サーバーがあります",
        lead: "ここは MCP クライアントのためのアドレスです。お使いのクライアントに、次の URL を貼り付けてください。",
        mcp_url: "Streamable HTTP",
        sse_url: "HTTP+SSE（以前のクライアント用）",
        then: "するとクライアントがこのような画面を開きます。そこでログインし、何を許可するかを決めてください。",
    },
    account: AccountWords {
        title: "あなたの代わりに動けるもの",
        login_lead: "ログインすると、このサーバーであなたの代わりに動けるアプリケーションを確かめ、取り消すことができます。",
        login: "ログイン",
        login_failed: "ログインできませんでした。もう一度お試しください。",
        logged_in_as: "ログイン中：",
        log_out: "ログアウト",
        applications: "アプリケーション",
        no_applications: "ここであなたの代わりに動けるアプリケーションはありません。",
        may_do: "許可されていること",
        since: "開始日",
        last_used: "最後に使われた日",
        never: "まだ使われていません",
        until: "期限",
        remove: "取り消す",
        tokens: "個人用トークン",
        tokens_advice: "ブラウザーのない機械のためのものです。これを持つ者は、期限が来るか取り消されるまで、あなたの代わりに動けます。",
        no_label: "名前なし",
        label: "用途",
        life: "有効期間",
        make: "トークンを作る",
        made: "今すぐ書き写してください。表示されるのはこの一度だけです。",
        token_not_made: "トークンは作られませんでした。許可することを一つ以上選び、用途は一行で書いてください。",
        too_many_tokens: "すでに数が多すぎるため、トークンは作られませんでした。先にどれかを取り消してください。",
        days: |days| format!("{days} 日間"),
    },
};
