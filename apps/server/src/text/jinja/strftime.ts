const DAYS = ['Sunday', 'Monday', 'Tuesday', 'Wednesday', 'Thursday', 'Friday', 'Saturday']
const MONTHS = ['January', 'February', 'March', 'April', 'May', 'June', 'July', 'August', 'September', 'October', 'November', 'December']

/**
 * Python's `strftime` in the C locale, for the date in local time; what it does not know it leaves as it is. `-` behind the `%` takes
 * leading zeros away, as glibc has it.
 */
export function strftime (date: Date, format: string): string {
  return format.replace(/%(-?)([a-zA-Z%])/g, (directive, bare: string, letter: string) => {
    const text = fieldOf(date, letter)
    return text === undefined ? directive : bare === '-' ? text.replace(/^[0 ]+(?=.)/, '') : text
  })
}

function fieldOf (date: Date, letter: string): string | undefined {
  const two = (number: number) => String(number).padStart(2, '0')
  const year = date.getFullYear()
  switch (letter) {
    case 'Y': return String(year)
    case 'y': return two(year % 100)
    case 'm': return two(date.getMonth() + 1)
    case 'd': return two(date.getDate())
    case 'e': return String(date.getDate()).padStart(2, ' ')
    case 'H': return two(date.getHours())
    case 'I': return two(date.getHours() % 12 === 0 ? 12 : date.getHours() % 12)
    case 'M': return two(date.getMinutes())
    case 'S': return two(date.getSeconds())
    case 'f': return String(date.getMilliseconds() * 1000).padStart(6, '0')
    case 'p': return date.getHours() < 12 ? 'AM' : 'PM'
    case 'A': return DAYS[date.getDay()]
    case 'a': return DAYS[date.getDay()]?.slice(0, 3)
    case 'B': return MONTHS[date.getMonth()]
    case 'b': case 'h': return MONTHS[date.getMonth()]?.slice(0, 3)
    case 'j': return String(dayOfYear(date)).padStart(3, '0')
    case 'w': return String(date.getDay())
    case 'u': return String(date.getDay() === 0 ? 7 : date.getDay())
    case 'F': return `${year}-${two(date.getMonth() + 1)}-${two(date.getDate())}`
    case 'T': return `${two(date.getHours())}:${two(date.getMinutes())}:${two(date.getSeconds())}`
    case '%': return '%'
    default: return undefined
  }
}

function dayOfYear (date: Date): number {
  return Math.round((Date.UTC(date.getFullYear(), date.getMonth(), date.getDate()) - Date.UTC(date.getFullYear(), 0, 1)) / 86_400_000) + 1
}
