// Form bodies, as written by honest clients and by clients who hope that the upstream reads another form.

import t from 'tap'
import { GatewayError } from '../../gateway/errors.ts'
import { isForm, readFormFields } from '../../gateway/protocols/forms.ts'

const urlencoded = 'application/x-www-form-urlencoded'
const multipart = 'multipart/form-data; boundary=B'

function read(contentType: string, body: string): Map<string, string[]> | undefined {
  return readFormFields(contentType, Buffer.from(body, 'latin1'))
}

/** One part for the boundary `B`; `head` without its Content-Disposition's beginning. */
function part(head: string, value = 'v'): string {
  return `--B\r\nContent-Disposition: form-data; ${head}\r\n\r\n${value}\r\n`
}

t.test('only a Content-Type that no reader takes for a form is none', async (t) => {
  for (const type of [urlencoded, `${urlencoded};`, 'Multipart/Form-Data; boundary=x']) {
    t.equal(isForm(type), true, type)
  }
  t.equal(
    isForm('multipart/related; boundary=x'),
    true,
    'Rack reads other multipart types as forms',
  )
  t.equal(isForm(`application/json, ${urlencoded}`), true, 'some readers take the last of a list')
  for (const type of ['application/json', 'application/octet-stream', '', undefined]) {
    t.equal(isForm(type), false, String(type))
    t.equal(readFormFields(type, Buffer.from('_method=DELETE')), undefined, String(type))
  }
})

const fields: readonly (readonly [
  why: string,
  type: string,
  body: string,
  name: string,
  values: readonly string[] | undefined,
])[] = [
  ['a plain field', urlencoded, 'a=1&from=x', 'from', ['x']],
  ['percent escapes in name and value', urlencoded, '%66rom=acme%2Fapp', 'from', ['acme/app']],
  ['plus is a blank in a value', urlencoded, 'a=b+c', 'a', ['b c']],
  ['UTF-8 is read', urlencoded, 'a=%C3%A9', 'a', ['é']],
  ['a field without = is empty', urlencoded, 'mount', 'mount', ['']],
  ['a field that occurs twice has two values', urlencoded, 'a=1&a=2', 'a', ['1', '2']],
  ['the parameters of the type change nothing', `${urlencoded}; charset=UTF-8`, 'a=1', 'a', ['1']],
  ['old readers split at ;', urlencoded, 'x=1;_method=DELETE', '_method', ['DELETE']],
  ['newer readers do not split at ;', urlencoded, 'a=1;b', 'a', ['1;b', '1']],
  ['PHP takes . for _', urlencoded, '.method=DELETE', '_method', ['DELETE']],
  ['PHP takes a blank for _', urlencoded, 'x+y=1', 'x_y', ['1']],
  ['PHP drops leading blanks', urlencoded, '++_method=DELETE', '_method', ['DELETE']],
  ['an array is seen by its name', urlencoded, '_method[]=DELETE', '_method', ['DELETE']],
  ['Rack drops leading brackets', urlencoded, '[_method]=DELETE', '_method', ['DELETE']],
  ['ASP.NET takes names without case', urlencoded, '_METHOD=DELETE', '_method', ['DELETE']],
  ['a byte order mark is no part of a name', urlencoded, '\xef\xbb\xbf_method=X', '_method', ['X']],
  ['JSON sent as a form has no such field', urlencoded, '{"done":"100%"}', '_method', undefined],
  ['a malformed escape in a value stays', urlencoded, 'a=50%', 'a', ['50%']],
  ['an empty body has no field', urlencoded, '', 'a', undefined],
  ['a part', multipart, `${part('name="from"', 'acme/app')}--B--\r\n`, 'from', ['acme/app']],
  ['a last line without its CRLF', multipart, `${part('name="a"')}--B--`, 'a', ['v']],
  ['an unquoted name', multipart, `${part('name=from')}--B--`, 'from', ['v']],
  ['a part with a file name', multipart, `${part('name="a"; filename="f"')}--B--`, 'a', ['v']],
  ['an extended file name', multipart, `${part("name=a; filename*=utf-8''f")}--B--`, 'a', ['v']],
  ['an empty value', multipart, `${part('name="a"', '')}--B--`, 'a', ['']],
  [
    'a value of several lines',
    multipart,
    `${part('name="a"', 'x\r\n\r\ny')}--B--`,
    'a',
    ['x\r\n\r\ny'],
  ],
  [
    'two parts of one name',
    multipart,
    `${part('name="a"')}${part('name="a"', 'w')}--B--`,
    'a',
    ['v', 'w'],
  ],
  [
    'an escaped name, for readers that unescape',
    multipart,
    `${part('name="%66rom"')}--B--`,
    'from',
    ['v'],
  ],
  [
    'a name in other case of the field',
    multipart,
    '--B\r\ncontent-disposition:form-data;name="a"\r\n\r\nv\r\n--B--',
    'a',
    ['v'],
  ],
  [
    'a quoted boundary',
    'multipart/form-data; boundary="B"',
    `${part('name="a"')}--B--`,
    'a',
    ['v'],
  ],
  ['no part at all', multipart, '--B--\r\n', 'a', undefined],
]

t.test('every field is found that some reader would see', async (t) => {
  for (const [why, type, body, name, values] of fields) {
    t.strictSame(read(type, body)?.get(name), values, why)
  }
})

const refused: readonly (readonly [why: string, type: string, body: string])[] = [
  ['UTF-16 would hide the names', `${urlencoded}; charset=utf-16`, 'a=1'],
  ['EBCDIC would hide the names', `${urlencoded}; charset=ibm037`, 'a=1'],
  ['two charsets', `${urlencoded}; charset=utf-8; charset=utf-16`, 'a=1'],
  ['two charsets, in the other order', `${urlencoded}; charset=utf-16; charset=utf-8`, 'a=1'],
  ['a type with a list', `application/json, ${urlencoded}`, 'a=1'],
  ['a type that only looks like a form', 'application/x-www-form-urlencoded2', 'a=1'],
  ['a type in a parameter', 'text/plain; x="multipart/form-data"', 'a=1'],
  ['a malformed escape in a name', urlencoded, '%5method=DELETE'],
  ['an escape of old IIS', urlencoded, '%u005fmethod=DELETE'],
  ['a malformed escape after a & in JSON', urlencoded, '{"a":"b&%u005fmethod=DELETE"}'],
  ['a NUL in a name', urlencoded, '_method%00=DELETE'],
  [
    'more names than anyone needs',
    urlencoded,
    Array.from({ length: 5000 }, (_, i) => `f${i}`).join('&'),
  ],
  ['no boundary', 'multipart/form-data', '--B--'],
  ['an empty boundary', 'multipart/form-data; boundary=""', '----'],
  ['a boundary with a comma', 'multipart/form-data; boundary="B,C"', '--B,C--'],
  ['a boundary with an escape', 'multipart/form-data; boundary="\\B"', '--B--'],
  ['an extended boundary', "multipart/form-data; boundary*=utf-8''B", '--B--'],
  ['two boundaries', 'multipart/form-data; boundary=A; boundary=B', '--B--'],
  ['PHP would take the first', 'multipart/form-data; xboundary=A; boundary=B', '--B--'],
  ['a preamble', multipart, `x\r\n${part('name="a"')}--B--`],
  ['an epilogue', multipart, `${part('name="a"')}--B--\r\nx`],
  ['no closing boundary', multipart, part('name="a"')],
  ['nothing at all', multipart, ''],
  [
    'a boundary after a bare line feed',
    multipart,
    `${part('name="a"', `x\n${part('name="from"')}`)}--B--`,
  ],
  ['lines that end in a line feed', multipart, `${part('name="a"').replaceAll('\r\n', '\n')}--B--`],
  ['blanks after a boundary', multipart, `${part('name="a"').replace('--B', '--B ')}--B--`],
  [
    'two more bytes after a boundary',
    multipart,
    `${part('name="a"').replace('--B\r\n', '--Bxx')}--B--`,
  ],
  ['a longer boundary in a value', multipart, `${part('name="a"', 'x\r\n--Bx\r\ny')}--B--`],
  ['a part without a head', multipart, '--B\r\n\r\nv\r\n--B--'],
  [
    'a part without an end of its head',
    multipart,
    '--B\r\nContent-Disposition: form-data; name="a"\r\n--B--',
  ],
  ['a part without a name', multipart, `${part('filename="f"')}--B--`],
  [
    'an attachment',
    multipart,
    '--B\r\nContent-Disposition: attachment; name="a"\r\n\r\nv\r\n--B--',
  ],
  [
    'a part with Content-ID only, which Rack takes for a name',
    multipart,
    '--B\r\nContent-ID: _method\r\n\r\nv\r\n--B--',
  ],
  [
    'two Content-Dispositions',
    multipart,
    '--B\r\nContent-Disposition: form-data; name="a"\r\nContent-Disposition: form-data; name="from"\r\n\r\nv\r\n--B--',
  ],
  ['two names', multipart, `${part('name="a"; name="from"')}--B--`],
  ['an extended name', multipart, `${part("name=a; name*=utf-8''from")}--B--`],
  ['a continued name', multipart, `${part('name=a; name*0="from"')}--B--`],
  ['a quote that is escaped', multipart, `${part('filename="a\\"; name="from"; x="')}--B--`],
  ["PHP's other quote", multipart, `${part("name='from'")}--B--`],
  ["PHP's other quote, unpaired", multipart, `${part('x=\'; name="a"; y=\'; name="from"')}--B--`],
  [
    'a folded line',
    multipart,
    '--B\r\nContent-Disposition: form-data;\r\n name="from"\r\n\r\nv\r\n--B--',
  ],
  [
    'a bare line feed in a head',
    multipart,
    '--B\r\nX: y\nContent-Disposition: form-data; name="from"\r\n\r\nv\r\n--B--',
  ],
  [
    'a blank before the colon',
    multipart,
    '--B\r\nContent-Disposition : form-data; name="from"\r\n\r\nv\r\n--B--',
  ],
  [
    'an encoded part, which Go decodes',
    multipart,
    '--B\r\nContent-Disposition: form-data; name="a"\r\nContent-Transfer-Encoding: quoted-printable\r\n\r\nv\r\n--B--',
  ],
  [
    'parts within a part',
    multipart,
    '--B\r\nContent-Disposition: form-data; name="a"\r\nContent-Type: multipart/mixed; boundary=C\r\n\r\nv\r\n--B--',
  ],
]

t.test('what readers could read differently is refused', async (t) => {
  for (const [why, type, body] of refused) {
    t.throws(() => read(type, body), { code: 'bad_request' }, why)
  }
})

t.test('a form is read or refused, whatever its bytes', async (t) => {
  const whole = `${part('name="a"; filename="f"', 'x\r\n--y')}${part('name="from"', 'w')}--B--\r\n`
  for (let at = 0; at < whole.length; at++) {
    for (const replacement of ['', '\0', '"', '\r\n', ';']) {
      const body = whole.slice(0, at) + replacement + whole.slice(at + 1)
      try {
        read(multipart, body)
        read(urlencoded, body)
      } catch (error) {
        if (!(error instanceof GatewayError)) throw error
      }
    }
  }
  t.pass('nothing else was thrown')
})

t.test('a hostile body of 64 KiB is read in linear time', async (t) => {
  const began = performance.now()
  for (const piece of ['&', ';', '%', '[', ';a', '&a[', '--B', '\r\n', 'a;b=', '--B\r\n']) {
    const body = piece.repeat(Math.floor(65_536 / piece.length))
    for (const type of [urlencoded, multipart]) {
      try {
        read(type, body)
      } catch (error) {
        if (!(error instanceof GatewayError)) throw error
      }
    }
  }
  t.ok(performance.now() - began < 3_000)
})
