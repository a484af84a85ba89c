//! What providers call the kinds of refusals.

/// What a status says, as far as providers have words for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Invalid,
    Unauthenticated,
    Denied,
    NotFound,
    TooLarge,
    Spent,
    Failed,
}

impl Kind {
    pub(crate) fn of(status: u16) -> Self {
        match status {
            401 | 407 => Self::Unauthenticated,
            404 | 410 => Self::NotFound,
            413 => Self::TooLarge,
            429 => Self::Spent,
            400 | 405 | 406 | 411 | 414 | 415 | 417 | 421 | 422 | 431 => Self::Invalid,
            500..=599 => Self::Failed,
            _ => Self::Denied,
        }
    }

    /// Of `error.type` (<https://platform.openai.com/docs/guides/error-codes>).
    pub(crate) fn openai(self) -> &'static str {
        match self {
            Self::Invalid | Self::NotFound | Self::TooLarge => "invalid_request_error",
            Self::Unauthenticated => "authentication_error",
            Self::Denied => "permission_error",
            Self::Spent => "insufficient_quota",
            Self::Failed => "server_error",
        }
    }

    /// Of `error.type` (<https://docs.anthropic.com/en/api/errors>).
    pub(crate) fn anthropic(self) -> &'static str {
        match self {
            Self::Invalid => "invalid_request_error",
            Self::Unauthenticated => "authentication_error",
            Self::Denied => "permission_error",
            Self::NotFound => "not_found_error",
            Self::TooLarge => "request_too_large",
            Self::Spent => "rate_limit_error",
            Self::Failed => "api_error",
        }
    }

    /// Of google.rpc.Code: its number and its name
    /// (<https://github.com/googleapis/googleapis/blob/master/google/rpc/code.proto>).
    pub(crate) fn google(self) -> (u8, &'static str) {
        match self {
            Self::Invalid | Self::TooLarge => (3, "INVALID_ARGUMENT"),
            Self::Unauthenticated => (16, "UNAUTHENTICATED"),
            Self::Denied => (7, "PERMISSION_DENIED"),
            Self::NotFound => (5, "NOT_FOUND"),
            Self::Spent => (8, "RESOURCE_EXHAUSTED"),
            Self::Failed => (14, "UNAVAILABLE"),
        }
    }

    /// Status of gRPC. That nobody has the method is UNIMPLEMENTED, as where a server says 404
    /// (<https://github.com/grpc/grpc/blob/master/doc/http-grpc-status-mapping.md>).
    pub(crate) fn grpc(self) -> u8 {
        match self {
            Self::NotFound => 12,
            Self::Invalid
            | Self::Unauthenticated
            | Self::Denied
            | Self::TooLarge
            | Self::Spent
            | Self::Failed => self.google().0,
        }
    }

    /// An error of Bedrock's (<https://docs.aws.amazon.com/bedrock/latest/APIReference/CommonErrors.html>).
    pub(crate) fn aws(self) -> &'static str {
        match self {
            Self::Invalid | Self::TooLarge => "ValidationException",
            Self::Unauthenticated => "UnrecognizedClientException",
            Self::Denied => "AccessDeniedException",
            Self::NotFound => "ResourceNotFoundException",
            Self::Spent => "ThrottlingException",
            Self::Failed => "ServiceUnavailableException",
        }
    }

    /// An exception within a stream of Bedrock's. Only those that its model has can be shown by every client, and it has
    /// none for a refusal (<https://docs.aws.amazon.com/bedrock/latest/APIReference/API_runtime_ConverseStream.html>).
    pub(crate) fn aws_stream(self) -> &'static str {
        match self {
            Self::Invalid | Self::Unauthenticated | Self::Denied | Self::NotFound | Self::TooLarge => {
                "validationException"
            }
            Self::Spent => "throttlingException",
            Self::Failed => "serviceUnavailableException",
        }
    }

    /// (<https://docs.aws.amazon.com/AmazonS3/latest/API/ErrorResponses.html>)
    pub(crate) fn s3(self) -> &'static str {
        match self {
            Self::Invalid => "InvalidRequest",
            Self::Unauthenticated | Self::Denied => "AccessDenied",
            Self::NotFound => "NoSuchKey",
            Self::TooLarge => "EntityTooLarge",
            Self::Spent => "SlowDown",
            Self::Failed => "ServiceUnavailable",
        }
    }

    /// (<https://learn.microsoft.com/en-us/rest/api/storageservices/common-rest-api-error-codes>)
    pub(crate) fn azure_blob(self) -> &'static str {
        match self {
            Self::Invalid => "InvalidInput",
            Self::Unauthenticated => "NoAuthenticationInformation",
            Self::Denied => "AuthorizationFailure",
            Self::NotFound => "ResourceNotFound",
            Self::TooLarge => "RequestBodyTooLarge",
            Self::Spent | Self::Failed => "ServerBusy",
        }
    }

    /// (<https://github.com/opencontainers/distribution-spec/blob/main/spec.md#error-codes>)
    pub(crate) fn oci(self) -> &'static str {
        match self {
            Self::Invalid | Self::TooLarge => "UNSUPPORTED",
            Self::Unauthenticated => "UNAUTHORIZED",
            Self::Denied | Self::Failed => "DENIED",
            Self::NotFound => "NAME_UNKNOWN",
            Self::Spent => "TOOMANYREQUESTS",
        }
    }
}
