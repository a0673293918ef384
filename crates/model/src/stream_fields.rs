//! The fields of every stream's records. Names are Plaid's unless a path says where Plaid has them.

use crate::stream::{Field, FieldKind};

/// `name Kind "meaning";`, or `name Kind from "path", "of keys" "meaning";`.
macro_rules! fields {
    ($($(#[$doc:meta])* $table:ident { $($name:ident $kind:ident $(from $($path:literal),+ ;)? $meaning:literal)* })*) => {$(
        $(#[$doc])*
        pub(crate) const $table: &[Field] = &[
            Field { name: "item_id", kind: FieldKind::Text, path: &[], meaning: "Plaid's Item id" },
            Field {
                name: "end_user_id", kind: FieldKind::Text, path: &[],
                meaning: "The caller's id of the end user",
            },
            $(Field {
                name: stringify!($name),
                kind: FieldKind::$kind,
                path: &[$($($path),+)?],
                meaning: $meaning,
            }),*
        ];
    )*};
}

fields! {
    ACCOUNTS {
        account_id Text "Plaid's account id"
        name Text "Name given by the bank or the person"
        official_name Text "The bank's official name"
        mask Text "Last two to four characters of the number"
        type Text "Plaid's account type"
        subtype Text "Plaid's account subtype"
        persistent_account_id Text "Stable across Items at banks that tokenise account numbers"
        holder_category Text "personal, business or unrecognized"
        status Text "active, missing (no longer told of by the bank) or revoked"
    }
    BALANCES {
        account_id Text "Plaid's account id"
        available Decimal "What may be spent"
        current Decimal "What is there, or is owed on credit and loans"
        limit Decimal "Credit or overdraft limit"
        currency Currency "ISO 4217 code, or the bank's unofficial code"
        source Text "cached, or real_time where the bank was asked"
        fetched_at Instant "When it was read"
        bank_updated_at Instant "When the bank updated it, where it says so"
    }
    TRANSACTIONS {
        id Text "The economic event; outlives Plaid's ids"
        transaction_id Text "Plaid's current id"
        account_id Text "Plaid's account id"
        date Date "Posting date, or while pending the date it occurred"
        authorized_date Date "When it was authorised"
        amount Decimal "Plaid's sign: positive leaves the account"
        amount_exact Decimal "As Plaid wrote it, where rounding changed it"
        direction Text "in or out"
        currency Currency "ISO 4217 code, or the bank's unofficial code"
        pending Boolean "Whether the bank may still change it"
        pending_transaction_id Text "Plaid's id of the pending row it replaced"
        name Text "The bank's text"
        merchant_name Text "The merchant, where Plaid found one"
        merchant_entity_id Text "Plaid's id of the merchant"
        website Text "The merchant's website, as Plaid has it"
        counterparties List "Everybody whom Plaid sees in it"
        original_description Text "The unaltered bank text, where Plaid gives it"
        payment_channel Text "online, in store, other"
        check_number Text "Cheque number"
        category Object "Plaid's personal finance category"
        enrichment Object "What processing says: merchant, category, flags, each with a reason"
        annotation Object "What people noted about it: category, note, tags"
        removed Boolean "True for a row that Plaid took back; only in the full history"
    }
    RECURRING {
        stream_id Text "Plaid's id of the stream"
        account_id Text "Plaid's account id"
        kind Text "inflow or outflow"
        description Text "The bank's text"
        merchant_name Text "The merchant, where Plaid found one"
        frequency Text "WEEKLY, MONTHLY and so on"
        status Text "MATURE, EARLY_DETECTION, TOMBSTONED"
        is_active Boolean "Whether it goes on"
        first_date Date "Oldest transaction"
        last_date Date "Newest transaction"
        predicted_next_date Date "When the next is expected"
        average_amount Decimal from "average_amount", "amount"; "Plaid's sign: positive leaves the account"
        last_amount Decimal from "last_amount", "amount"; "Amount of the newest"
        currency Currency from "last_amount"; "Currency of the newest"
        category Object from "personal_finance_category"; "Plaid's personal finance category"
        transaction_ids List "Plaid's ids of its transactions"
    }
    LIABILITIES {
        account_id Text "Plaid's account id"
        kind Text "credit, mortgage, student, loan or line_of_credit"
        is_overdue Boolean "Whether a payment is late"
        last_payment_amount Decimal "The last payment"
        last_payment_date Date "When it was made"
        last_statement_issue_date Date "Date of the last statement"
        last_statement_balance Decimal "Balance of the last statement"
        minimum_payment_amount Decimal "Smallest payment due"
        next_payment_due_date Date "When the next payment is due"
        next_monthly_payment Decimal "Mortgage: the next payment"
        next_payment_amount Decimal "Loan: the next payment"
        aprs List "Credit: interest rates by kind"
        interest_rate Object "Mortgage and loan: rate and its type"
        interest_rate_percentage Decimal "Student loan: rate in percent"
        outstanding_interest_amount Decimal "Student loan: interest not yet paid"
        principal_balance Decimal "Principal that is left"
        origination_date Date "When the loan began"
        origination_principal_amount Decimal "Principal at the beginning"
        maturity_date Date "When the loan ends"
        expected_payoff_date Date "Student loan: when it will be paid off"
        past_due_amount Decimal "What is overdue"
        escrow_balance Decimal "Mortgage: held in escrow"
        current_late_fee Decimal "Mortgage: fee for a late payment"
        has_pmi Boolean "Mortgage: whether it carries mortgage insurance"
        has_prepayment_penalty Boolean "Mortgage: whether early payment costs"
        loan_name Text "Student loan: its name"
        loan_term Text "Mortgage: its term in words"
        loan_type_description Text "Mortgage: its type in words"
        loan_status Object "Student loan: its state"
        repayment_plan Object "Student loan: how it is paid back"
        guarantor Text "Student loan: who guarantees it"
        property_address Object "Mortgage: where the property is"
        credit_limit Decimal "Line of credit: its limit"
        available_credit Decimal "Line of credit: what is left of it"
        ytd_interest_paid Decimal "Interest paid this year"
        ytd_principal_paid Decimal "Principal paid this year"
    }
    HOLDINGS {
        account_id Text "Plaid's account id"
        security_id Text "Plaid's security id"
        quantity Decimal "How many units"
        institution_price Decimal "Price of a unit"
        institution_price_as_of Date "Date of the price"
        institution_value Decimal "Value of the position"
        cost_basis Decimal "What it cost"
        vested_quantity Decimal "Vested units"
        vested_value Decimal "Value of vested units"
        currency Currency "ISO 4217 code, or the bank's unofficial code"
        tax_lots List "Lots it was bought in"
    }
    SECURITIES {
        security_id Text "Plaid's security id"
        name Text "Its name"
        ticker_symbol Text "Its symbol"
        type Text "equity, etf, mutual fund, cash and so on"
        subtype Text "A finer type"
        isin Text "ISIN, with a licence"
        cusip Text "CUSIP, with a licence"
        figi Text "FIGI"
        institution_security_id Text "The bank's own id"
        institution_id Text "The bank, where the security is its own"
        is_cash_equivalent Boolean "Whether it is as good as cash"
        close_price Decimal "Last closing price"
        close_price_as_of Date "Date of that price"
        currency Currency "ISO 4217 code, or the bank's unofficial code"
        market_identifier_code Text "ISO 10383 code of its market"
        sector Text "Sector"
        industry Text "Industry"
        option_contract Object "Of an option: its terms"
        fixed_income Object "Of a bond: its terms"
    }
    INVESTMENT_TRANSACTIONS {
        investment_transaction_id Text "Plaid's id"
        account_id Text "Plaid's account id"
        security_id Text "Plaid's security id"
        date Date "Settlement date"
        name Text "The bank's text"
        type Text "buy, sell, cancel, cash, fee, transfer"
        subtype Text "A finer type"
        quantity Decimal "Positive when bought"
        price Decimal "Price of a unit"
        amount Decimal "Positive leaves the cash of the account"
        fees Decimal "Fees in it"
        currency Currency "ISO 4217 code, or the bank's unofficial code"
        transaction_datetime Instant "When it happened, where the bank says"
    }
    IDENTITY {
        account_id Text "Plaid's account id"
        owners List "Names, addresses, e-mail addresses and telephone numbers of its owners"
    }
    AUTH {
        account_id Text "Plaid's account id"
        kind Text "ach, eft, international or bacs"
        account Text "Account number; tokenised at some banks"
        routing Text "ACH: routing number"
        wire_routing Text "ACH: routing number for wires"
        institution Text "EFT: institution number"
        branch Text "EFT: branch number"
        iban Text "International: IBAN"
        bic Text "International: BIC"
        sort_code Text "BACS: sort code"
        is_tokenized_account_number Boolean "Whether the number is a token"
    }
    INSTITUTIONS {
        institution_id Text "Plaid's institution id"
        name Text "Its name"
        country_codes List "Where it is"
        products List "What Plaid offers there"
        oauth Boolean "Whether its logins use OAuth"
        routing_numbers List "Its routing numbers"
        url Text "Its page"
    }
    ITEM {
        institution_id Text from "item", "institution_id"; "Plaid's institution id"
        institution_name Text from "item", "institution_name"; "Its name"
        webhook Text from "item", "webhook"; "Where Plaid sends its webhooks"
        update_type Text from "item", "update_type"; "background or user_present_required"
        available_products List from "item", "available_products"; "Products it could have"
        billed_products List from "item", "billed_products"; "Products that cost"
        products List from "item", "products"; "Products it has"
        consented_products List from "item", "consented_products"; "Products consented to"
        consent_expiration_time Instant from "item", "consent_expiration_time"; "When the consent ends"
        transactions_updated_at Instant from "status", "transactions", "last_successful_update"; "When Plaid last read transactions from the bank"
        transactions_failed_at Instant from "status", "transactions", "last_failed_update"; "When Plaid last failed to"
        investments_updated_at Instant from "status", "investments", "last_successful_update"; "When Plaid last read investments from the bank"
        investments_failed_at Instant from "status", "investments", "last_failed_update"; "When Plaid last failed to"
        last_webhook Object from "status", "last_webhook"; "The last webhook Plaid sent"
    }
}
