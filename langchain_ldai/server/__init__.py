"""Routes for Starlette and FastAPI; they need the extra `server`."""

try:
    from langchain_ldai.server.feedback import FeedbackReceived
    from langchain_ldai.server.openapi import feedback_openapi
    from langchain_ldai.server.starlette import feedback_routes
except ImportError as _error:
    raise ImportError('the routes need starlette and limits: pip install "langchain-ldai[server]"') from _error

__all__ = ["FeedbackReceived", "feedback_openapi", "feedback_routes"]
