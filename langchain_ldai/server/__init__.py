"""Routes for Starlette, with the extra `server`; for FastAPI there is `server.fastapi`."""

try:
    from langchain_ldai.server.feedback import FeedbackReceived
    from langchain_ldai.server.openapi import feedback_openapi
    from langchain_ldai.server.starlette import feedback_routes
except ImportError as _error:
    raise ImportError(
        'the routes need starlette and limits: pip install "langchain-ldai[server]", '
        'or for FastAPI "langchain-ldai[fastapi]"'
    ) from _error

__all__ = ["FeedbackReceived", "feedback_openapi", "feedback_routes"]
