"""Notifiers that keep what they are told; `BCDA_NOTIFIERS` names them by their paths."""

from airflow.sdk import BaseNotifier

messages = []
rendered = []
contexts = []


class Told(BaseNotifier):
    """Keeps messages in `messages`."""

    def notify(self, context):
        messages.append(context["bcda"])


class Renders(BaseNotifier):
    """Keeps its rendered argument in `rendered`, and what it could reach in `contexts`."""

    template_fields = ("text",)

    def __init__(self, text):
        super().__init__()
        self.text = text

    def notify(self, context):
        rendered.append(self.text)
        contexts.append(context)
