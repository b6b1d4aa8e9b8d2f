"""A webhook as an application of Twilio or Vonage has it, made of their SDKs alone: it verifies what it is
asked and answers with a document that the SDK wrote. Says on standard output how the verification went.

webhook.py ADDRESS PORT DUTY     DUTY: where calls are to end, "127.0.0.1:5060"
"""

import hashlib
import json
import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

import jwt
from cryptography.hazmat.primitives import serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from twilio.request_validator import RequestValidator
from twilio.twiml.voice_response import Dial, VoiceResponse
from vonage_jwt.verify_jwt import verify_signature
from vonage_voice.models import Connect, PhoneEndpoint, SipEndpoint

ADDRESS, PORT, DUTY = sys.argv[1], int(sys.argv[2]), sys.argv[3]
TWILIO = RequestValidator("12345")
SECRET = "a signature secret of thirty-two"
KEY = rsa.generate_private_key(public_exponent=65537, key_size=2048)


def twiml():
    """To a number, whose edge is full, then to the phone on duty."""
    response = VoiceResponse()
    response.pause(length=1)
    dial = Dial(caller_id="+15550177", timeout=10, action="/twilio-ended")
    dial.number("+15550166")
    response.append(dial)
    return str(response)


def duty_twiml():
    response = VoiceResponse()
    dial = Dial(timeout=20)
    dial.sip(f"sip:duty@{DUTY}?X-Reason=dr")
    response.append(dial)
    response.reject(reason="busy")
    return str(response)


def ncco():
    number = Connect(
        endpoint=[PhoneEndpoint(number="15550166")],
        from_="15550177",
        timeout=10,
        eventUrl=[f"http://{ADDRESS}:{PORT}/event"],
    )
    duty = Connect(
        endpoint=[SipEndpoint(uri=f"sip:duty@{DUTY}", headers={"reason": "dr"})],
        from_="15550177",
        timeout=20,
    )
    actions = [number, duty]
    return json.dumps([action.model_dump(by_alias=True, exclude_none=True) for action in actions])


def say(line):
    print(line, flush=True)


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def answer(self, body, kind="text/xml", status=200):
        data = body.encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        self.end_headers()
        self.wfile.write(data)

    def body(self):
        return self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()

    def verdict(self, words, verified, why=""):
        say(f"{words} verified" if verified else f"{words} REFUSED {why}")

    def twilio(self, words, body):
        url = f"http://{ADDRESS}:{PORT}{self.path}"
        signature = self.headers.get("X-Twilio-Signature", "")
        is_json = self.headers.get("Content-Type") == "application/json"
        params = body if is_json else dict(parse_qsl(body, keep_blank_values=True))
        self.verdict(words, TWILIO.validate(url, params, signature), f"{url} {body}")
        return params

    def vonage(self, words, body):
        token = self.headers.get("Authorization", "").removeprefix("Bearer ")
        claims = jwt.decode(token, options={"verify_signature": False})
        fits = claims["payload_hash"] == hashlib.sha256(body.encode()).hexdigest()
        good = verify_signature(token, SECRET) and fits and claims["iss"] == "Vonage"
        self.verdict(words, good and claims["api_key"] == "abcd1234", str(claims))

    def serve(self, method):
        body, path = self.body(), urlsplit(self.path).path
        if path == "/ready":
            self.answer("ready", "text/plain")
        elif path == "/key":
            encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
            pem = KEY.private_bytes(encoding, form, serialization.NoEncryption())
            self.answer(pem.decode(), "text/plain")
        elif path == "/twilio":
            self.twilio(f"twilio {method}", body)
            self.answer(twiml())
        elif path == "/twilio-ended":
            params = self.twilio("twilio ended", body)
            if params["DialCallStatus"] == "failed":
                self.twilio("twilio ended failed", body)
            self.answer(duty_twiml())
        elif path == "/twilio-json":
            self.twilio("twilio JSON", body)
            response = VoiceResponse()
            response.reject(reason="busy")
            self.answer(str(response))
        elif path == "/vonage":
            self.vonage(f"vonage {method}", body)
            self.answer(ncco(), "application/json")
        elif path == "/event":
            say(f"vonage event {json.loads(body)['status']}")
            self.answer("", "text/plain", 204)
        elif path == "/rsa":
            token = self.headers.get("Authorization", "").removeprefix("Bearer ")
            try:
                jwt.decode(token, KEY.public_key(), algorithms=["RS256"])
                say("rsa verified")
            except jwt.PyJWTError as why:
                say(f"rsa REFUSED {why}")
            self.answer("[]", "application/json")
        else:
            self.answer("", "text/plain", 404)

    def do_GET(self):
        self.serve("GET")

    def do_POST(self):
        self.serve("POST")


ThreadingHTTPServer((ADDRESS, PORT), Handler).serve_forever()
