/** Objects that are called like functions and still have private state and methods. */

/**
 * Extend it to get instances that are functions: the constructor returns `call` with the prototype
 * of the class, and private fields of the class are then installed on it.
 */
// oxlint-disable-next-line no-extraneous-class -- only a class can be extended
export class Callable {
  constructor(call: (...args: never[]) => unknown) {
    // A function's own `name` and `length` would hide what the class has under these names.
    Reflect.deleteProperty(call, "name");
    Reflect.deleteProperty(call, "length");
    // oxlint-disable-next-line no-constructor-return -- this is what the class is for
    return Object.setPrototypeOf(call, new.target.prototype) as this;
  }
}
