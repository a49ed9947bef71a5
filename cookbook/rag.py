"""Retrieval-augmented generation: the duration is the model's, the retriever's time is left out of it.

python cookbook/rag.py
"""

from langchain_core.documents import Document
from langchain_core.output_parsers import StrOutputParser
from langchain_core.prompts import ChatPromptTemplate
from langchain_core.retrievers import BaseRetriever
from langchain_core.runnables import RunnablePassthrough
from ldclient import Context

from langchain_ldai import LdAiClient, LdAiHandler, RunReport
from langchain_ldai.testing import RecordingClient
from served_model import model_for

MANUAL = {
    "_ldMeta": {"enabled": True, "variationKey": "short"},
    "model": {"name": "local-parrot"},
    "provider": {"name": "local"},
    "messages": [{"role": "system", "content": "Answer from the manual, for {{ldctx.key}}."}],
}


class Manual(BaseRetriever):
    """Finds the same page for every question."""

    def _get_relevant_documents(self, query: str, *, run_manager: object) -> list[Document]:
        return [Document("To switch it off, hold the button.")]


def main() -> RunReport:
    """Ask the manual."""
    ai = LdAiClient(RecordingClient({"manual-bot": MANUAL}))  # in production: ldclient.LDClient(...)
    config = ai.completion_config("manual-bot", Context.create("user-1"))
    if not config.enabled:
        raise SystemExit(f"LaunchDarkly serves no enabled variation of {config.key}: is targeting on?")
    prompt = ChatPromptTemplate.from_messages([*config.to_messages(), ("user", "{question}\n\n{page}")])
    chain = {"page": Manual(), "question": RunnablePassthrough()} | prompt | model_for(config) | StrOutputParser()

    handler = LdAiHandler(config)  # duration="run" would time the retriever too
    with handler.collect_runs() as runs:
        print(chain.invoke("How do I switch it off?", {"callbacks": [handler]}))
    return runs[0]


if __name__ == "__main__":
    report = main()
    print(f"{report.outcome}: {report.model_calls} model call, {report.summary.tokens}")
