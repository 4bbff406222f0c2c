"""A stand-in for the hub: a server on this machine that takes and gives repositories through the hub's own client.

It knows what `create_repo`, `upload_folder`, `snapshot_download` and `from_pretrained` ask for: large files come and go
through LFS, others lie in the commit itself.
Set HF_ENDPOINT to `Hub().url` and HF_HUB_DISABLE_XET to 1 in the process that uses it; the one token that may write is
`Hub.TOKEN`.
"""

import base64
import hashlib
import json
import re
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import unquote, urlsplit

REPO = r'(?P<repo>[\w.-]+/[\w.-]+?)'


class Hub:
    TOKEN = 'hf_write'

    def __init__(self):
        self.repos, self.objects, self.created, self.asked = {}, {}, {}, []
        hub = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = 'HTTP/1.1'

            def log_message(self, *_):
                pass

            def do(self):
                body = (
                    self.rfile.read(int(self.headers.get('Content-Length') or 0))
                    if 'chunked' not in self.headers.get('Transfer-Encoding', '')
                    else self.chunks()
                )
                path = unquote(urlsplit(self.path).path)
                hub.asked.append((self.command, path))
                status, headers, content = hub.answer(
                    self.command, path, body, self.headers.get('Authorization') == f'Bearer {hub.TOKEN}'
                )
                if isinstance(content, (dict, list)):
                    content = json.dumps(content).encode()
                    headers = {'Content-Type': 'application/json', **headers}
                self.send_response(status)
                for k, v in {'Content-Length': str(len(content)), **headers}.items():
                    self.send_header(k, v)
                self.end_headers()
                if self.command != 'HEAD':
                    self.wfile.write(content)

            def chunks(self):
                out = b''
                while n := int(self.rfile.readline().split(b';')[0], 16):
                    out += self.rfile.read(n)
                    self.rfile.readline()
                self.rfile.readline()
                return out

            do_GET = do_HEAD = do_POST = do_PUT = do

        self.server = ThreadingHTTPServer(('127.0.0.1', 0), Handler)
        self.url = f'http://127.0.0.1:{self.server.server_port}'
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self):
        self.server.shutdown()

    def revision(self, repo):
        return hashlib.sha1(
            json.dumps(sorted((k, hashlib.sha256(v).hexdigest()) for k, v in self.repos[repo].items())).encode()
        ).hexdigest()

    def answer(self, command, path, body, may_write):
        "Status, headers and content of the answer to a request."
        if m := re.fullmatch(rf'/(?:api/)?(?:models/|spaces/)?{REPO}(?:\.git)?(?P<rest>/.*)?', path):
            repo, rest = m['repo'], m['rest'] or ''
        if path == '/api/whoami-v2':
            return (
                (200, {}, dict(name='owner', type='user', auth={}))
                if may_write
                else (401, {}, dict(error='Invalid user token.'))
            )
        if path == '/api/validate-yaml':
            return 200, {}, dict(errors=[], warnings=[])
        if command in ('POST', 'PUT') and not may_write and not path.startswith('/objects/'):
            return 401, {}, dict(error='Invalid username or password.')
        if path == '/api/repos/create':
            asked = json.loads(body)
            name = f'{asked.get("organization") or "owner"}/{asked["name"]}'
            if name in self.created:
                return 409, {}, dict(url=f'{self.url}/{name}', error='You already created this repo')
            self.created[name], self.repos[name] = asked, {}
            return 200, {}, dict(url=f'{self.url}/{name}', name=name, id=name)
        if path.startswith('/objects/'):
            self.objects[path.split('/')[-1]] = body
            return 200, {}, b''
        if not m or repo not in self.repos:
            return (
                404,
                {'X-Error-Code': 'RepoNotFound', 'X-Error-Message': 'Repository not found'},
                dict(error='Repository not found'),
            )
        files, sha = self.repos[repo], self.revision(repo)
        if rest.startswith('/preupload/'):
            return (
                200,
                {},
                dict(
                    files=[
                        dict(
                            path=f['path'],
                            uploadMode='lfs' if f['path'].endswith('.safetensors') else 'regular',
                            shouldIgnore=False,
                        )
                        for f in json.loads(body)['files']
                    ]
                ),
            )
        if rest == '/info/lfs/objects/batch':
            return (
                200,
                {},
                dict(
                    transfer='basic',
                    objects=[
                        dict(o, actions=dict(upload=dict(href=f'{self.url}/objects/{o["oid"]}')))
                        for o in json.loads(body)['objects']
                    ],
                ),
            )
        if rest.startswith('/commit/'):
            for line in map(json.loads, body.splitlines()):
                v = line['value']
                if line['key'] == 'file':
                    files[v['path']] = base64.b64decode(v['content'])
                elif line['key'] == 'lfsFile':
                    assert hashlib.sha256(self.objects[v['oid']]).hexdigest() == v['oid']
                    files[v['path']] = self.objects[v['oid']]
            return (
                200,
                {},
                dict(
                    commitUrl=f'{self.url}/{repo}/commit/{self.revision(repo)}',
                    commitOid=self.revision(repo),
                    hookOutput='',
                ),
            )
        if rest.startswith('/resolve/'):
            name = rest.split('/', 3)[3]
            if name not in files:
                return (
                    404,
                    {'X-Error-Code': 'EntryNotFound', 'X-Error-Message': 'Entry not found'},
                    dict(error='Entry not found'),
                )
            return 200, {'ETag': f'"{hashlib.sha256(files[name]).hexdigest()}"', 'X-Repo-Commit': sha}, files[name]
        if rest.startswith('/tree/'):
            return (
                200,
                {},
                [dict(type='file', path=k, size=len(v), oid=hashlib.sha1(v).hexdigest()) for k, v in files.items()],
            )
        if rest == '' or rest.startswith('/revision/'):
            return (
                200,
                {},
                dict(
                    id=repo, modelId=repo, sha=sha, private=False, tags=[], siblings=[dict(rfilename=k) for k in files]
                ),
            )
        return 404, {}, dict(error=f'{command} {path} cannot be resolved')
