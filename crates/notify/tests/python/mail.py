"""A mail server: mail.py plain|starttls|tls CERTIFICATE KEY [USER PASSWORD] [REFUSE CODE]

Prints its port, then each mail that it takes as a line of JSON. Refuses receivers that start with `later` with 451 and those
that start with `never` with 550.
"""
import asyncio
import email
import email.policy
import json
import ssl
import sys

from aiosmtpd.smtp import SMTP, AuthResult, LoginPassword

mode, certificate, key = sys.argv[1:4]
user, password = (sys.argv[4].encode(), sys.argv[5].encode()) if len(sys.argv) > 5 else (None, None)


class Handler:
    async def handle_RCPT(self, server, session, envelope, address, options):
        if address.startswith("later"):
            return "451 4.2.0 try again"
        if address.startswith("never"):
            return "550 5.1.1 no such user"
        envelope.rcpt_tos.append(address)
        return "250 OK"

    async def handle_DATA(self, server, session, envelope):
        mail = email.message_from_bytes(envelope.content, policy=email.policy.default)
        parts = {part.get_content_type(): part.get_content() for part in mail.walk() if not part.is_multipart()}
        print(json.dumps({
            "from": envelope.mail_from,
            "to": envelope.rcpt_tos,
            "tls": server.transport.get_extra_info("sslcontext") is not None,
            "user": session.auth_data.login.decode() if session.auth_data else None,
            "headers": {name.lower(): str(value) for name, value in mail.items()},
            "text": parts.get("text/plain"),
            "html": parts.get("text/html"),
        }), flush=True)
        return "250 taken"


def login(server, session, envelope, mechanism, data):
    good = isinstance(data, LoginPassword) and (data.login, data.password) == (user, password)
    return AuthResult(success=good, handled=good, auth_data=data)


async def main():
    context = None
    if mode != "plain":
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(certificate, key)

    def session():
        return SMTP(
            Handler(),
            hostname="mail.test",
            tls_context=context if mode == "starttls" else None,
            require_starttls=mode == "starttls",
            authenticator=login,
            auth_required=user is not None,
            auth_require_tls=mode == "starttls",
        )

    loop = asyncio.get_running_loop()
    server = await loop.create_server(session, "127.0.0.1", 0, ssl=context if mode == "tls" else None)
    print(server.sockets[0].getsockname()[1], flush=True)
    await server.serve_forever()


asyncio.run(main())
