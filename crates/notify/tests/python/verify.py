"""Verifies recorded requests with the reference library of Standard Webhooks.

Reads a list of {"secret", "headers", "body"} from standard input; writes, for each, null or why it was refused.
"""
import json
import sys

from standardwebhooks.webhooks import Webhook, WebhookVerificationError

verdicts = []
for request in json.load(sys.stdin):
    try:
        Webhook(request["secret"]).verify(request["body"], request["headers"])
        verdicts.append(None)
    except WebhookVerificationError as error:
        verdicts.append(str(error))
print(json.dumps(verdicts))
